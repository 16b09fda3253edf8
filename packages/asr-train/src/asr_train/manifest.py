"""Manifests: the list of utterances of a corpus, as tab-separated values or as JSON lines.

A `.tsv` file has a header that names its columns, in any order and case: `FilePath` and `Text`, and if wanted
`Id`, `Seconds` and `Speaker`; columns of other names are passed over. There is no quoting: a field is what
lies between two tabs. A `.jsonl` or `.json` file holds one object a line, with the keys of NeMo:
`audio_filepath` and `text`, and if wanted `id`, `duration` and `speaker`. Both are UTF-8. Audio paths are
relative to the manifest's folder.
"""

import codecs
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_train.errors import UserError
from asr_train.files import write_whole


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A stretch of speech in a file of its own, and what is said in it."""

    id: str
    """Different for every utterance of a manifest; the audio path as written, where no other is given."""
    audio: Path
    text: str
    seconds: float | None = None
    speaker: str = ""
    row: str = field(default="", compare=False)
    """Where it comes from, for messages: `train.tsv:17`."""


_TSV = {"audio": "FilePath", "text": "Text", "id": "Id", "seconds": "Seconds", "speaker": "Speaker"}
_JSON = {"audio": "audio_filepath", "text": "text", "id": "id", "seconds": "duration", "speaker": "speaker"}
_Values = dict[str, Any]  # by the names of Utterance's fields


def read_manifest(path: str | os.PathLike[str]) -> list[Utterance]:
    """The utterances of a manifest, in its order. Nothing is asked of the audio files yet: see `measure`.

    Raises UserError, in one line with file and row, for whatever is wrong with the manifest.
    """
    path = Path(path)
    utterances = []
    seen: dict[str, str] = {}
    for row, values in _read_tsv(path) if _is_tsv(path) else _read_json(path):
        utterance = _utterance(path, row, values)
        if utterance.id in seen:
            first = seen[utterance.id]
            raise UserError(f"{row}: the id {utterance.id!r} is at {first} already; ids must differ")
        seen[utterance.id] = row
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{path}: the manifest holds no utterances")
    return utterances


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write a manifest that `read_manifest` reads back to equal utterances, in the format its suffix names.

    Audio inside the manifest's folder is named relative to it, so that the folder can be moved; other audio
    by its absolute path. The file appears whole or not at all.

    Raises UserError for utterances that cannot be written (a tab in a TSV, one id twice); OSError.
    """
    path = Path(path)
    write = _write_tsv if _is_tsv(path) else _write_json
    folder = os.path.abspath(path.parent)
    rows: list[_Values] = []
    ids = set()
    for utterance in utterances:
        if utterance.id in ids:
            raise UserError(f"{path}: the id {utterance.id!r} is there twice; ids must differ")
        ids.add(utterance.id)
        audio = Path(os.path.abspath(utterance.audio))
        written = audio.relative_to(folder).as_posix() if audio.is_relative_to(folder) else str(audio)
        values = {name: getattr(utterance, name) for name in _TSV} | {"audio": written}
        rows.append(values | {"id": "" if utterance.id == written else utterance.id})
    try:
        content = write(path, rows).encode()
    except UnicodeEncodeError as error:
        part = error.object[max(0, error.start - 50) : error.end]
        raise UserError(f"{path}: {part!r} ends in what UTF-8 cannot hold") from None
    write_whole(path, content)


def read_audio(utterance: Utterance, sample_rate: int, *, stop: float | None = None) -> NDArray[np.float32]:
    """The samples `(N,)` of an utterance at a rate, up to `stop` seconds.

    Raises UserError, with its row, when they cannot be read.
    """
    try:
        return asr_features.read(utterance.audio, sample_rate=sample_rate, stop=stop)
    except (OSError, ValueError) as error:
        raise UserError(f"{utterance.row}: {error}") from None


def measure(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same utterances, all with their duration: where not known, it is read from the audio's header.

    Raises UserError naming the row and the first file that is missing or not audio, and how many more are.
    """
    measured, bad = survey(utterances)
    if bad:
        utterance, reason = bad[0]
        raise UserError(f"{utterance.row or utterance.id}: {reason}{_and_more(bad)}")
    return measured


def survey(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[tuple[Utterance, str]]]:
    """The utterances whose files are there, as `measure` gives them; and the others, with what is wrong with each."""
    measured, bad = [], []
    for utterance in utterances:
        try:
            measured.append(_measured(utterance))
        except (OSError, ValueError) as error:
            bad.append((utterance, str(error)))
    return measured, bad


def check_disjoint(train: Iterable[Utterance], dev: Iterable[Utterance]) -> None:
    """Raises UserError when the two share an audio file: a score on what was trained on says nothing."""
    known = {os.path.realpath(utterance.audio): utterance for utterance in train}
    shared = [utterance for utterance in dev if os.path.realpath(utterance.audio) in known]
    if shared:
        audio = shared[0].audio
        twin = known[os.path.realpath(audio)]
        raise UserError(
            f"{shared[0].row or shared[0].id}: {audio} is in the training set too, at {twin.row or twin.id}"
            f"{_and_more(shared)}; the dev set must be apart from the training set"
        )


def _and_more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def _measured(utterance: Utterance) -> Utterance:
    if utterance.seconds is None:
        return dataclasses.replace(utterance, seconds=asr_features.info(utterance.audio).seconds)
    if not utterance.audio.is_file():
        raise FileNotFoundError(f"{utterance.audio}: there is no such audio file")
    if not utterance.audio.stat().st_size:
        raise ValueError(f"{utterance.audio}: the file is empty; expected audio")
    return utterance


def _is_tsv(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in (".tsv", ".jsonl", ".json"):
        raise UserError(f"{path}: expected a manifest named .tsv, .jsonl or .json, got {path.name}")
    return suffix == ".tsv"


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not empty, each after its `file:number`."""
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # some editors put it there
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such manifest") from None
    except OSError as error:
        raise UserError(f"{path}: the manifest cannot be read: {error.strerror}") from None
    # Not splitlines: a text may hold U+2028 or U+0085.
    for number, line in enumerate(content.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        try:
            decoded = line.decode()
        except UnicodeDecodeError as error:
            byte = f"0x{line[error.start]:02x}"
            raise UserError(f"{path}:{number}: expected UTF-8, got the byte {byte}") from None
        if decoded:
            yield f"{path}:{number}", decoded


def _read_tsv(path: Path) -> Iterator[tuple[str, _Values]]:
    lines = _lines(path)
    row, header = next(lines, (str(path), ""))
    titles = [title.strip() for title in header.split("\t")]
    columns = [title.lower() for title in titles]
    for title in _TSV.values():
        count = columns.count(title.lower())
        if count > 1 or (count == 0 and title in ("FilePath", "Text")):
            found = ", ".join(titles) or "nothing"
            raise UserError(f"{row}: expected a header with one column {title}, got {found[:200]}")
    used = {name: columns.index(title.lower()) for name, title in _TSV.items() if title.lower() in columns}
    for row, line in lines:
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise UserError(f"{row}: expected {len(columns)} fields between tabs, got {len(fields)}")
        yield row, {name: fields[column] for name, column in used.items()}


def _read_json(path: Path) -> Iterator[tuple[str, _Values]]:
    for row, line in _lines(path):
        try:
            found = json.loads(line)
            json.dumps(found, ensure_ascii=False).encode()  # refuses half a surrogate pair
        except (ValueError, RecursionError) as error:
            raise UserError(f"{row}: expected one JSON object a line: {error}") from None
        if not isinstance(found, dict):
            raise UserError(f"{row}: expected one JSON object a line, got {type(found).__name__}")
        for key in ("audio_filepath", "text"):
            if not isinstance(found.get(key), str):
                keys = (", ".join(found) or "none")[:200]
                raise UserError(f"{row}: expected a string {key}, got {found.get(key)!r}; keys: {keys}")
        if found.get("offset"):
            raise UserError(f"{row}: an offset into a file is not supported; cut the audio by utterances")
        yield row, {name: found.get(key) for name, key in _JSON.items()}


def _utterance(path: Path, row: str, values: _Values) -> Utterance:
    audio = values["audio"]
    if not audio.strip() or "\0" in audio:
        raise UserError(f"{row}: expected the path of an audio file, got {audio!r}")
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    for name in ("id", "speaker"):
        if not isinstance(given.get(name, ""), str | int):
            raise UserError(f"{row}: expected a name as {name}, got {given[name]!r}")
    return Utterance(
        id=str(given.get("id", audio)),
        audio=path.parent / audio,
        text=values["text"],
        seconds=_seconds(row, given["seconds"]) if "seconds" in given else None,
        speaker=str(given.get("speaker", "")),
        row=row,
    )


def _seconds(row: str, value: Any) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"{row}: expected a duration in seconds, got {value!r}")
    return seconds


def _write_tsv(path: Path, rows: list[_Values]) -> str:
    used = [name for name in _TSV if name in ("audio", "text") or any(row[name] for row in rows)]
    lines = ["\t".join(_TSV[name] for name in used)]
    for row in rows:
        fields = [str(row[name] or "") for name in used]
        if any(mark in text for text in fields for mark in "\t\n\r"):
            raise UserError(f"{path}: a .tsv cannot hold tabs and line ends, got {fields}; write a .jsonl")
        lines.append("\t".join(fields))
    return "\n".join(lines) + "\n"


def _write_json(path: Path, rows: list[_Values]) -> str:
    lines = []
    for row in rows:
        used = (name for name in _JSON if name in ("audio", "text") or row[name])
        lines.append(json.dumps({_JSON[name]: row[name] for name in used}, ensure_ascii=False))
    return "\n".join(lines) + "\n"
