"""`python -m asr_decoders.score REF HYP`: word and character error rates of a corpus."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from asr_decoders.score import Errors, errors

SHOWN = 3  # ids in a message


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help tells more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rates; 0 when done, 2 for wrong input, with one line on stderr."""
    parser = _Parser(prog="python -m asr_decoders.score", description="Word and character error rates of a corpus.")
    lines = "lines of an id, a tab (or a space) and the text, UTF-8"
    parser.add_argument("reference", metavar="REF", type=Path, help=f"what was said: {lines}")
    parser.add_argument("hypothesis", metavar="HYP", type=Path, help="what was recognised: the same ids in any order")
    parser.add_argument("--no-spaces", action="store_true", help="leave spaces out of the character errors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        references, hypotheses = read(options.reference), read(options.hypothesis)
        check_ids(references, hypotheses, options.reference, options.hypothesis)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    pairs = [(text, hypotheses[utterance]) for utterance, text in references.items()]
    words = sum((errors(*pair) for pair in pairs), Errors())
    spaces = not options.no_spaces
    characters = sum((errors(*pair, unit="character", spaces=spaces) for pair in pairs), Errors())
    if options.json:
        print(json.dumps({"utterances": len(pairs), "wer": as_json(words), "cer": as_json(characters)}))
    else:
        print(f"utterances {len(pairs)}")
        print(as_text("WER", words, "words"))
        print(as_text("CER", characters, "characters"))
    return 0


def read(path: Path) -> dict[str, str]:
    """Text by id. Raises ValueError for a line without an id, an id that comes twice, an empty file."""
    texts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    if lines == [""]:
        raise ValueError(f"{path} is empty: lines of an id, a tab and the text expected")
    for number, line in enumerate(lines, start=1):
        utterance, _, text = line.partition("\t") if "\t" in line else line.partition(" ")
        if not utterance.strip():
            raise ValueError(f"{path}:{number}: an id, a tab and the text expected, got {line!r}")
        if utterance in texts:
            raise ValueError(f"{path}:{number}: the id {utterance} is there twice")
        texts[utterance] = text
    return texts


def check_ids(references: dict[str, str], hypotheses: dict[str, str], reference: Path, hypothesis: Path) -> None:
    """Raises ValueError unless both files have the same ids."""
    for ids, others, path, other in (
        (references, hypotheses, reference, hypothesis),
        (hypotheses, references, hypothesis, reference),
    ):
        missing = [utterance for utterance in ids if utterance not in others]
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
            raise ValueError(f"{len(missing)} ids of {path} are not in {other}: {shown}")


def as_json(counts: Errors) -> dict[str, float | int]:
    """The counts, their sum and the rate."""
    return {"rate": counts.rate, "errors": counts.total, **asdict(counts)}


def as_text(name: str, counts: Errors, units: str) -> str:
    """One line for people."""
    return (
        f"{name} {100 * counts.rate:.2f} % ({counts.total} / {counts.reference} {units}: "
        f"{counts.substitutions} substituted, {counts.deletions} deleted, {counts.insertions} inserted)"
    )


if __name__ == "__main__":
    sys.exit(main())
