"""NIST's formats with times: segments of a reference (stm), words of a hypothesis (ctm), and which go together."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from asr_decoders.score.lines import numbered, without_choices

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
Place = tuple[str, str]  # a file and its channel


class Segment(NamedTuple):
    """A line of a stm; times in seconds."""

    place: Place
    speaker: str
    begin: float
    end: float
    text: str
    id: str
    where: str

    @property
    def ignored(self) -> bool:
        """Whether it is not to be scored, nor the words in it."""
        return IGNORED in self.text


class Word(NamedTuple):
    """A line of a ctm."""

    place: Place
    begin: float
    duration: float
    text: str
    where: str


def segments(path: Path) -> list[Segment]:
    """Those of a stm, in the file's order. Raises ValueError for a line that is none."""
    found = []
    for number, line in numbered(path):
        where = f"{path}:{number}"
        if line.startswith(";;") or not line.strip():
            continue
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise ValueError(f"{where}: file, channel, speaker, begin, end and text expected, got {line!r}")
        begin, end = (_seconds(field, where) for field in fields[3:5])
        if end < begin:
            raise ValueError(f"{where}: a segment that ends after it begins expected, got {begin:g} to {end:g} s")
        text = fields[5] if len(fields) > 5 else ""
        if text.startswith("<") and ">" in text:
            text = text.partition(">")[2]
        name = "-".join([*fields[:2], *fields[3:5]])
        found.append(Segment((fields[0], fields[1]), fields[2], begin, end, without_choices(text, where), name, where))
    if not found:
        raise ValueError(f"{path} has no segments: file, channel, speaker, begin, end and text expected in a line")
    return found


def words(path: Path) -> list[Word]:
    """Those of a ctm, by time. Raises ValueError for a line that is none."""
    found = []
    for number, line in numbered(path):
        where = f"{path}:{number}"
        if line.startswith(";;") or not line.strip():
            continue
        fields = line.split()
        if len(fields) not in (5, 6):
            raise ValueError(f"{where}: file, channel, begin, duration and a word expected, got {line!r}")
        if fields[4].upper().startswith("<ALT"):
            raise ValueError(f"{where}: alternatives are not scored here, leave one of them")
        begin, duration = (_seconds(field, where) for field in fields[2:4])
        found.append(Word((fields[0], fields[1]), begin, duration, fields[4], where))
    return sorted(found, key=lambda word: word.begin)


def recognised(path: Path, references: list[Segment] | None, ids: Iterable[str]) -> dict[str, str]:
    """The texts of a ctm by the ids of segments; without those, its files are the ids.

    Raises ValueError for a word of a file, or of a channel, that the reference does not have.
    """
    if references is None:
        texts: dict[str, list[str]] = {name: [] for name in ids}
        for word in words(path):
            if word.place[0] not in texts:
                raise ValueError(f"{word.where}: the reference has no id {word.place[0]}")
            texts[word.place[0]].append(word.text)
        return {name: " ".join(spoken) for name, spoken in texts.items()}

    turns: dict[Place, list[Segment]] = {}
    for segment in sorted(references, key=lambda segment: segment.begin):
        turns.setdefault(segment.place, []).append(segment)
    texts = {segment.id: [] for segment in references}
    reached = dict.fromkeys(turns, 0)
    for word in words(path):
        if word.place not in turns:
            raise ValueError(f"{word.where}: the reference has no file {word.place[0]} with channel {word.place[1]}")
        turn, n = turns[word.place], reached[word.place]
        while n < len(turn) - 1 and word.begin + word.duration / 2 >= turn[n].end:
            n += 1
        reached[word.place] = n
        texts[turn[n].id].append(word.text)
    return {segment.id: " ".join(texts[segment.id]) for segment in references if not segment.ignored}


def _seconds(field: str, where: str) -> float:
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"{where}: seconds expected, got {field!r}") from None
