"""Text files line by line."""

from collections.abc import Iterator
from pathlib import Path


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines and their numbers from 1. Raises ValueError for an empty file and for what is not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    text = text.removesuffix("\n")
    if not text:
        raise ValueError(f"{path} is empty: a line an utterance expected")
    yield from enumerate(text.split("\n"), start=1)


def without_choices(text: str, where: str) -> str:
    """The text, stripped; raises ValueError where it leaves a choice, as NIST's formats may."""
    if "{" in text:
        raise ValueError(f"{where}: choices in braces are not scored here, put one of them: {text.strip()!r}")
    return text.strip()
