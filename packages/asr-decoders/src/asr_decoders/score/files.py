"""Transcripts in files: texts by id, and pairs of what was said and what was recognised.

| format | a line | its id |
|---|---|---|
| `ids` | an id, a tab (or a space) and the text | as written |
| `lines` | the text | the line's number, from 1 |
| `table` | tab-separated columns named by the first line: `id`, and `text` or `reference` or `hypothesis` | its `id` |
| `trn` | the text and then an id in parentheses, as for sclite | as written |
| `stm` | file, channel, speaker, begin, end, perhaps a label in `<>`, the text | file-channel-begin-end |
| `ctm` | file, channel, begin, duration, a word, perhaps its confidence; only what was recognised | see `read_pairs` |

All are UTF-8. Pairing is by id and strict: no id may be missing on either side, none may come twice.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from asr_decoders.score import timed
from asr_decoders.score.lines import numbered, without_choices

Format = Literal["ids", "lines", "table", "trn", "stm", "ctm"]
FORMATS = get_args(Format)
SHOWN = 3  # ids in a message
TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*")


class Transcript(NamedTuple):
    """One utterance of a file."""

    id: str
    text: str
    speaker: str
    where: str
    """The file and the line, for messages."""


class Pair(NamedTuple):
    """One utterance to be scored."""

    id: str
    speaker: str
    reference: str
    hypothesis: str


def read_pairs(
    reference: Path,
    hypothesis: Path,
    *,
    reference_format: Format | None = None,
    hypothesis_format: Format | None = None,
    normalize: Callable[[str], str] | None = None,
) -> list[Pair]:
    """The utterances of two files, in the order of the reference.

    Words of a ctm go by time to the segments of a stm, as sclite has it: to the first one that ends after the
    middle of the word, and to the last one what comes after all. Where the reference is no stm, the ctm's files
    are its ids. What a ctm says nothing of has no words.

    reference_format, hypothesis_format: as in the table above; None to tell by the name: .trn, .stm and .ctm are
        what they say, any other name is `ids`.
    normalize: applied to every text, of `asr_decoders.text` or your own.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a line that is not of the format, an id that is missing or comes twice, a text that `normalize`
            refuses: with file and line.
    """
    left = read(reference, reference_format, column="reference")
    if (hypothesis_format or format_of(hypothesis)) == "ctm":
        segments = timed.segments(reference) if (reference_format or format_of(reference)) == "stm" else None
        found = timed.recognised(hypothesis, segments, left)
        right = {name: Transcript(name, text, "", str(hypothesis)) for name, text in found.items()}
    else:
        right = read(hypothesis, hypothesis_format, column="hypothesis")
    check_ids(left, right, reference, hypothesis)
    check_ids(right, left, hypothesis, reference)

    def text(transcript: Transcript) -> str:
        try:
            return transcript.text if normalize is None else normalize(transcript.text)
        except ValueError as error:
            raise ValueError(f"{transcript.where}: {error}") from error

    return [Pair(name, said.speaker, text(said), text(right[name])) for name, said in left.items()]


def format_of(path: Path) -> Format:
    """What the name says."""
    formats: dict[str, Format] = {".trn": "trn", ".stm": "stm", ".ctm": "ctm"}
    return formats.get(path.suffix.lower(), "ids")


def read(path: Path, format: Format | None = None, *, column: str = "text") -> dict[str, Transcript]:
    """Texts by id, in the file's order; `column` is what a table may call its text, besides `text`.

    Raises as `read_pairs`.
    """
    form = format or format_of(path)
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, got {form!r}")
    if form == "ctm":
        raise ValueError(f"{path}: a ctm has no utterances and can be the hypothesis only; a stm has them")
    if form == "stm":
        made = (Transcript(one.id, one.text, one.speaker, one.where) for one in timed.segments(path) if not one.ignored)
    else:
        rows = _table(path, column) if form == "table" else _rows(path, form)
        made = (Transcript(name, text, speaker(name), f"{path}:{number}") for number, name, text in rows)
    return _unique(made)


def speaker(name: str) -> str:
    """Who speaks, as an id tells it: what is before the first - or _ (sclite's `-i rm`), or all of it."""
    return re.split("[-_]", name, maxsplit=1)[0]


def check_ids(ids: dict[str, Transcript], others: dict[str, Transcript], path: Path, other: Path) -> None:
    """Raises ValueError unless all ids of a file are in the other."""
    missing = [utterance for utterance in ids if utterance not in others]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
        line = ids[missing[0]].where.removeprefix(f"{path}:")
        raise ValueError(f"{len(missing)} ids of {path} are not in {other}: {shown} (the first is in line {line})")


def write_trn(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Writes (id, text), for sclite."""
    path.write_text("".join(f"{text} ({name})\n" for name, text in texts), encoding="utf-8")


def _rows(path: Path, form: Format) -> Iterator[tuple[int, str, str]]:
    """(line, id, text) of the lines."""
    for number, line in numbered(path):
        where = f"{path}:{number}"
        if form == "lines":
            yield number, str(number), line
        elif form == "trn":
            if line.startswith(";;"):
                continue
            found = TRN.fullmatch(line)
            if not found:
                raise ValueError(f"{where}: a text and then an id in parentheses expected, got {line!r}")
            yield number, found[2], without_choices(found[1], where)
        else:
            name, _, text = line.partition("\t") if "\t" in line else line.partition(" ")
            if not name.strip():
                raise ValueError(f"{where}: an id, a tab and the text expected, got {line!r}")
            yield number, name, text


def _table(path: Path, column: str) -> Iterator[tuple[int, str, str]]:
    """(line, id, text) of a table with a header."""
    rows = numbered(path)
    names = [name.strip().lower() for name in next(rows)[1].split("\t")]
    wanted = column if column in names else "text"
    if "id" not in names or wanted not in names:
        expected = " or ".join(dict.fromkeys([column, "text"]))
        raise ValueError(f"{path}:1: columns named id and {expected} expected, got {', '.join(names)}")
    for number, line in rows:
        cells = line.split("\t")
        if len(cells) != len(names):
            raise ValueError(f"{path}:{number}: {len(names)} columns expected, as the first line has, got {len(cells)}")
        yield number, cells[names.index("id")], cells[names.index(wanted)]


def _unique(transcripts: Iterable[Transcript]) -> dict[str, Transcript]:
    found: dict[str, Transcript] = {}
    for one in transcripts:
        if one.id in found:
            first = found[one.id].where.rpartition(":")[2]
            raise ValueError(f"{one.where}: the id {one.id} is there twice, first in line {first}")
        found[one.id] = one
    return found
