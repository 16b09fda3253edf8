"""Features and labels of a corpus in a few large files: TFRecords, with an index so that any utterance can be read.

A folder of records holds

- `records.json`: what was done (front end, variants of speed and pitch, tokenizer, counts),
- `index.jsonl`: one utterance a line, and for each of its variants `[shard, offset, length, crc32 of its content]`,
- `tokenizer.model`, and `00000-of-00008.tfrecord` and so on.

A record is a serialised pair of serialised tensors, features `(T, F, 1)` float32 and tokens `(U + 2,)` int32 between
begin and end, as github.com/cosmoquester/speech-recognition has it; files of that project can be imported. With GZIP
every record is a member of its own, so that a file is a GZIP TFRecord to any program and can still be read at any
record. TensorFlow is loaded when a record is read or written.
"""

import dataclasses
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_train.cache import Variant
from asr_train.config import FRONTENDS, AugmentConfig, RunConfig, kind_of, plain
from asr_train.errors import UserError
from asr_train.folders import whole_folder
from asr_train.manifest import Utterance
from asr_train.plan import Ints
from asr_train.quarantine import BadUtteranceError
from asr_train.tokenizer import Tokenizer

Floats = NDArray[np.float32]
HEAD, TAIL = 12, 4  # bytes around a TFRecord's payload: its length and a checksum, another checksum


class Place(NamedTuple):
    """Where a record is."""

    shard: int
    offset: int
    length: int
    crc: int


@dataclass(frozen=True)
class Records:
    """Opened folders of records: utterances, and the store that their features come from."""

    about: Mapping[str, Any]
    """records.json of the first folder."""
    tokenizer: Tokenizer
    utterances: tuple[Utterance, ...]
    places: Mapping[str, tuple[Path, list[Place]]] = field(repr=False)
    """By an utterance's `row`: its folder, and the place of each variant."""

    @property
    def variants(self) -> list[Variant]:
        """What speeds and pitches there are."""
        return [Variant(*values) for values in self.about["variants"]]

    def __call__(self, utterance: Utterance, variant: Variant, compute: Callable[[], Floats]) -> Floats:
        """As `Store`; nothing is ever computed."""
        return self.read(utterance, variant)

    def read(self, utterance: Utterance, variant: Variant) -> Floats:
        """The features `(T, F)` of an utterance. Raises BadUtteranceError for a record that is damaged or gone."""
        folder, places = self.places[utterance.row]
        place = places[self.variants.index(variant)]
        path = folder / shard_name(place.shard, self.about["shards"])
        try:
            with path.open("rb") as file:
                file.seek(place.offset)
                record = file.read(place.length)
            content = (gzip.decompress(record) if self.about["gzip"] else record)[HEAD:-TAIL]
        except (OSError, EOFError, zlib.error) as error:
            raise BadUtteranceError(utterance, f"{path}: {error}") from None
        if zlib.crc32(content) != place.crc:
            raise BadUtteranceError(utterance, f"{path}: the record at byte {place.offset} is damaged")
        return parse(content)[0][:, :, 0]

    def check(self, config: RunConfig) -> None:
        """Raises UserError when a run wants other features, speeds or pitches than are here, or noise or gain."""
        wanted = features_of(config)
        if wanted != self.about["features"]:
            names = [name for name in wanted if wanted[name] != self.about["features"].get(name)]
            raise UserError(f"data.records were made with other features: {', '.join(names)} differ; make them anew")
        if config.augment.noise is not None or config.augment.gain is not None:
            raise UserError("augment.noise and augment.gain need audio; data.records hold features: give data.train")
        missing = [tuple(v) for v in variants_of(config.augment) if v not in self.variants]
        if missing:
            raise UserError(f"data.records lack the (speed, pitch) {missing}; they hold {[*map(tuple, self.variants)]}")


def open_records(folders: Sequence[Path]) -> Records:
    """Read the indices of folders of records that were made alike.

    Raises:
        UserError: not such a folder, or folders that differ in front end, tokenizer or variants.
    """
    abouts = [_about(folder) for folder in folders]
    for folder, about in zip(folders, abouts, strict=True):
        for key in ("features", "variants", "tokenizer", "shards", "gzip"):
            if about[key] != abouts[0][key]:
                raise UserError(f"{folder}: {key} is {about[key]!r}, in {folders[0]} it is {abouts[0][key]!r}")
    utterances, places = [], {}
    for folder in folders:
        for number, line in enumerate((folder / "index.jsonl").read_text(encoding="utf-8").split("\n")[:-1], 1):
            values = json.loads(line)
            row = f"{folder / 'index.jsonl'}:{number}"
            places[row] = folder, [Place(*place) for place in values.pop("places")]
            utterances.append(Utterance(**{**values, "audio": Path(values["audio"])}, row=row))
    return Records(abouts[0], Tokenizer.load(folders[0] / "tokenizer.model"), tuple(utterances), places)


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder}: no folder of records; `asr-train records` makes one") from None
    if about.get("format") != 1:
        raise UserError(f"{folder}: records of format {about.get('format')!r}, this version reads 1; make them anew")
    return dict(about)


def write_records(
    output: Path,
    items: Iterable[tuple[Utterance, Sequence[Floats]]],
    *,
    config: RunConfig,
    tokenizer: Tokenizer,
    shards: int = 8,
    compress: bool = False,
    variants: Sequence[Variant] = (Variant(),),
) -> dict[str, Any]:
    """Write utterances, each with its features in every variant, in turn to so many files.

    Returns:
        What records.json says. The folder is there whole or not at all.
    """
    import tensorflow as tf

    with whole_folder(output) as folder:
        paths = [folder / shard_name(number, shards) for number in range(shards)]
        writers = [tf.io.TFRecordWriter(str(path)) for path in paths]
        written: list[tuple[Utterance, list[int]]] = []  # with the crc32 of each variant
        for utterance, features in items:
            tokens = np.array([tokenizer.begin, *tokenizer.encode(utterance.text), tokenizer.end], np.int32)
            contents = [serialise(one[:, :, None], tokens) for one in features]
            for content in contents:
                writers[len(written) % shards].write(content)
            written.append((utterance, [zlib.crc32(content) for content in contents]))
        for writer in writers:
            writer.close()
        if not written:
            raise UserError(f"{output}: there is no utterance to write")
        spans = [iter(_compressed(path) if compress else _spans(path)) for path in paths]
        with (folder / "index.jsonl").open("w", encoding="utf-8") as index:
            for number, (utterance, crcs) in enumerate(written):
                shard = number % shards
                places = [Place(shard, *next(spans[shard]), crc) for crc in crcs]
                index.write(json.dumps(_line(utterance, places), ensure_ascii=False) + "\n")
        tokenizer.save(folder / "tokenizer.model")
        about = {
            "format": 1,
            "features": features_of(config),
            "variants": [list(variant) for variant in variants],
            "tokenizer": hashlib.sha256((folder / "tokenizer.model").read_bytes()).hexdigest(),
            "gzip": compress,
            "shards": shards,
            "utterances": len(written),
            "seconds": round(sum(utterance.seconds or 0.0 for utterance, _ in written), 3),
        }
        (folder / "records.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def _line(utterance: Utterance, places: list[Place]) -> dict[str, Any]:
    values = {**dataclasses.asdict(utterance), "audio": str(utterance.audio.absolute()), "places": places}
    del values["row"]
    return values


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """The offset and length of each record of a plain TFRecord file."""
    offset, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while offset < end:
            file.seek(offset)
            length = HEAD + int.from_bytes(file.read(8), "little") + TAIL
            yield offset, length
            offset += length


def _compressed(path: Path) -> list[tuple[int, int]]:
    """Compress a plain TFRecord file, each record by itself; the new offset and length of each."""
    spans, end, plain_file = [], 0, path.rename(path.with_suffix(".plain"))
    with plain_file.open("rb") as source, path.open("wb") as target:
        for _, length in _spans(plain_file):
            size = target.write(gzip.compress(source.read(length), 1, mtime=0))
            spans.append((end, size))
            end += size
    plain_file.unlink()
    return spans


def shard_name(number: int, shards: int) -> str:
    """The file of a shard."""
    return f"{number:05d}-of-{shards:05d}.tfrecord"


def features_of(config: RunConfig) -> dict[str, Any]:
    """What the features of a record depend on, as plain values."""
    cut = config.data.max_seconds if config.data.over_length == "slice" else None
    front: dict[str, Any] = plain(dataclasses.asdict(config.features))
    return {"kind": kind_of(config.features, FRONTENDS), **front, "cut": cut}


def variants_of(augment: AugmentConfig) -> list[Variant]:
    """All speeds with all pitches."""
    return [Variant(*pair) for pair in product(augment.speed, augment.pitch)]


def serialise(features: NDArray[np.float32], tokens: Ints) -> bytes:
    """`(T, F, C)` and `(U,)` -> the content of a record."""
    import tensorflow as tf

    pair = [tf.io.serialize_tensor(features), tf.io.serialize_tensor(tokens)]
    content: bytes = tf.io.serialize_tensor(tf.stack(pair)).numpy()
    return content


def parse(content: bytes) -> tuple[Floats, Ints]:
    """The content of a record -> features `(T, F, C)` and tokens `(U,)`, begin and end among them.

    Raises:
        ValueError: something else.
    """
    import tensorflow as tf

    try:
        pair = tf.io.parse_tensor(content, tf.string)
        features, tokens = tf.io.parse_tensor(pair[0], tf.float32), tf.io.parse_tensor(pair[1], tf.int32)
    except tf.errors.OpError:
        raise ValueError("not a pair of serialised tensors, float32 and int32") from None
    return features.numpy(), tokens.numpy()


def read_foreign(path: Path) -> Iterator[tuple[Floats, Ints]]:
    """Features `(T, F, C)` and tokens `(U,)` of a TFRecord file, GZIP or not, in its order.

    Raises:
        UserError: not such a file, or one that is damaged.
    """
    import tensorflow as tf

    try:
        with path.open("rb") as file:
            kind = "GZIP" if file.read(2) == b"\x1f\x8b" else ""
        for number, content in enumerate(tf.data.TFRecordDataset(str(path), kind), 1):
            try:
                yield parse(content.numpy())
            except ValueError as error:
                raise UserError(f"{path}: record {number}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except tf.errors.OpError as error:
        raise UserError(f"{path}: no TFRecord file, or a damaged one: {str(error).splitlines()[0]}") from None
