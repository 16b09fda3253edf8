"""What `asr-train records` does: manifests, or TFRecords of elsewhere, to a folder of records."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_train.cache import Variant
from asr_train.config import RunConfig
from asr_train.errors import UserError
from asr_train.manifest import Utterance, read_manifest, survey
from asr_train.quarantine import BadUtteranceError, Quarantine
from asr_train.reader import Reader
from asr_train.records import read_foreign, variants_of, write_records
from asr_train.run import make_tokenizer
from asr_train.tokenizer import Tokenizer

Floats = NDArray[np.float32]
FOREIGN = (".tfrecord", ".tfrecords")
TOGETHER = 64  # utterances that are read at the same time, at most


def record(
    inputs: Sequence[Path], output: Path, config: RunConfig, *, shards: int = 8, compress: bool = False
) -> dict[str, Any]:
    """Write manifests, or TFRecords of the reference system, as a folder of records.

    Features are those of `config.features` in every variant of `config.augment.speed` and `.pitch`. Utterances that
    cannot be read are left out and listed in quarantine.tsv beside the folder, at most `config.data.max_bad`.

    Returns:
        What records.json says.

    Raises:
        UserError: the folder exists; anything wrong with the inputs; too many bad utterances.
    """
    if output.exists():
        raise UserError(f"{output}: exists already; choose another --output")
    foreign = [path for path in inputs if path.suffix.lower() in FOREIGN]
    if foreign and len(foreign) < len(inputs):
        raise UserError(f"{foreign[0]}: TFRecords and manifests cannot be mixed; make a folder of each")
    if foreign:
        if config.tokenizer.path is None:
            raise UserError(
                "tokenizer.path is missing: TFRecords hold tokens, and only their tokenizer knows the texts"
            )
        tokenizer = Tokenizer.load(config.tokenizer.path)
        items: Iterable[Any] = imported(foreign, config.features, tokenizer)
        return write_records(output, items, config=config, tokenizer=tokenizer, shards=shards, compress=compress)
    utterances, bad = survey([utterance for path in inputs for utterance in read_manifest(path)])
    quarantine = Quarantine(output.with_name(f"{output.name}.quarantine.tsv"), most=config.data.max_bad)
    for utterance, reason in bad:
        quarantine.add(BadUtteranceError(utterance, reason))
    tokenizer, variants = make_tokenizer(config, utterances), variants_of(config.augment)
    items = analysed(utterances, config, tokenizer, variants, quarantine)
    return write_records(
        output, items, config=config, tokenizer=tokenizer, shards=shards, compress=compress, variants=variants
    )


def analysed(
    utterances: Sequence[Utterance],
    config: RunConfig,
    tokenizer: Tokenizer,
    variants: Sequence[Variant],
    quarantine: Quarantine,
) -> Iterator[tuple[Utterance, list[Floats]]]:
    """Each utterance with its features in every variant, in order; bad ones go to the quarantine."""
    cut = config.data.max_seconds if config.data.over_length == "slice" else None
    reader = Reader(frontend=config.features, normalize=None, tokenizer=tokenizer, cut=cut)

    def read(utterance: Utterance) -> list[Floats] | BadUtteranceError:
        try:
            return reader.variants(utterance, variants)
        except BadUtteranceError as bad:
            return bad

    with ThreadPoolExecutor(config.data.threads) as pool:
        for begin in range(0, len(utterances), TOGETHER):
            some = utterances[begin : begin + TOGETHER]
            for utterance, found in zip(some, pool.map(read, some), strict=True):
                if isinstance(found, BadUtteranceError):
                    quarantine.add(found)
                else:
                    yield utterance, found


def imported(
    paths: Sequence[Path], frontend: asr_features.Frontend, tokenizer: Tokenizer
) -> Iterator[tuple[Utterance, list[Floats]]]:
    """The utterances of TFRecords of the reference system; their texts are what their tokens spell."""
    for path in paths:
        for number, (features, tokens) in enumerate(read_foreign(path), 1):
            place = f"{path.name}:{number}"
            if features.ndim != 3 or features.shape[1:] != (frontend.dim, 1):
                raise UserError(f"{place}: expected features (T, {frontend.dim}, 1), got {features.shape}")
            if len(tokens) and not 0 <= tokens.min() <= tokens.max() < tokenizer.size:
                raise UserError(f"{place}: tokens up to {tokens.max()}, the tokenizer has {tokenizer.size}")
            marks = (tokenizer.begin, tokenizer.end)
            text = tokenizer.decode([token for token in tokens.tolist() if token not in marks])
            seconds = samples_of(frontend, len(features)) / frontend.sample_rate
            yield Utterance(id=place, audio=path, text=text, seconds=seconds, row=place), [features[:, :, 0]]


def samples_of(frontend: asr_features.Frontend, frames: int) -> int:
    """The fewest samples that have so many frames."""
    most = 1
    while frontend.num_frames(most) < frames:
        most *= 2
    return bisect_left(range(most + 1), frames, key=frontend.num_frames)
