"""The data of a run, as its configuration says: readers, stores and pipelines for training and for validation."""

from pathlib import Path

from asr_train.batches import Pipeline
from asr_train.cache import DiskStore, MemoryStore, Store, check_memory
from asr_train.meter import Meter
from asr_train.noise import load_noise
from asr_train.quarantine import Quarantine
from asr_train.reader import Reader
from asr_train.records import variants_of
from asr_train.run import Run


def training_data(run: Run, *, meter: Meter | None = None, quarantine: Path | None = None) -> Pipeline:
    """The training utterances: augmented, shuffled, bad ones left out.

    Args:
        meter: counts padding, and is asked for it.
        quarantine: where this worker lists bad utterances, if not in the run's quarantine.tsv: one file a worker.

    Raises:
        UserError: noise that cannot be read; a cache for which there is too little memory.
    """
    config, data = run.config, run.config.data
    listed = run.quarantine if quarantine is None else Quarantine(quarantine, most=data.max_bad)
    reader = Reader(
        frontend=config.features,
        normalize=run.normalize,
        tokenizer=run.tokenizer,
        augment=config.augment,
        seed=config.train.seed,
        cut=_cut(run),
        store=_store(run),
        noise=load_noise(config.augment.noise, config.features.sample_rate),
    )
    return Pipeline(run.train, reader, data=data, quarantine=listed, meter=meter)


def dev_data(run: Run, *, meter: Meter | None = None) -> Pipeline:
    """The development utterances, as they are, the longest first; a bad one is an error."""
    reader = Reader(
        frontend=run.config.features, normalize=run.normalize, tokenizer=run.tokenizer, seed=run.config.train.seed
    )
    return Pipeline(run.dev, reader, data=run.config.data, shuffle=False, meter=meter)


def _store(run: Run) -> Store | None:
    data, frontend = run.config.data, run.config.features
    if run.records is not None:
        return run.records
    if data.cache == "memory":
        seconds = sum(u.seconds or 0.0 for u in run.train)
        check_memory(seconds, len(variants_of(run.config.augment)), frontend)
        return MemoryStore()
    if data.cache == "disk":
        return DiskStore(data.cache_folder or run.output / "cache", frontend, _cut(run))
    return None


def _cut(run: Run) -> float | None:
    return run.config.data.max_seconds if run.config.data.over_length == "slice" else None
