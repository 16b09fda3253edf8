"""An alignment as text: what was said, what was recognised, and which units are wrong, one below the other."""

import unicodedata
from collections.abc import Iterable

from asr_decoders.score.alignment import Edit

LETTERS = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}
NAMES = ("REF:  ", "HYP:  ", "Eval: ")
# Medial vowels and final consonants of Hangul: a terminal draws them into the syllable of the initial before.
CONJOINING = (("\u1160", "\u11ff"), ("\ud7b0", "\ud7ff"))


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: East Asian wide characters two, combining ones none."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    if any(first <= character <= last for first, last in CONJOINING):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def show(edits: Iterable[Edit[str]], *, width: int | None = None) -> str:
    """Three rows, as sclite's, without a new line at the end:

        REF:  the cat sat on the mat
        HYP:  the cat *** on a   mat
        Eval:         D      S

    Stars are where a unit is missing; a space that is a unit is shown as ␣.

    width: start three new rows, after an empty line, rather than use more columns than that; None for never.
    """
    rows: list[list[str]] = [[], [], []]
    blocks, used = [rows], len(NAMES[0])
    for operation, reference, hypothesis in edits:
        left, right = (None if unit is None else unit.replace(" ", "␣") for unit in (reference, hypothesis))
        cell = max(columns(left or ""), columns(right or ""), 1)
        if width is not None and rows[0] and used + cell > width:
            rows, used = [[], [], []], len(NAMES[0])
            blocks.append(rows)
        used += cell + 1
        for row, text in zip(rows, (left, right, LETTERS[operation]), strict=True):
            row.append("*" * cell if text is None else text + " " * (cell - columns(text)))
    return "\n\n".join("\n".join((n + " ".join(r)).rstrip() for n, r in zip(NAMES, b, strict=True)) for b in blocks)
