"""Steps of a tiny model on made-up batches, under any strategy; also a program that takes them in other processes.

    python replicas.py OUTPUT '{"two": ["workers", 2, {"las": {"optimizer": "sgd"}}]}'

For each name a strategy, how many processes, and options by family. All are forked from one that has loaded TensorFlow,
and computed nothing with it. The batches are a function of their number: 5 to 8 utterances each, so that parts are
uneven. OUTPUT/NAME/FAMILY.N.npz is what process N has in the end, N.out what it said, statuses.json how all ended.
"""

import gc
import importlib.util
import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 20
FEATURES = 6
CHECKED = {
    "learning_rate": 0.05,
    "optimizer": "sgd",
    "clip_norm": 0.5,
    "ema_decay": 0.9,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
}
"""Everything that could go wrong between replicas; the gradients of all steps are longer than `clip_norm`."""


def family_of(kind: str, precision: str = "float32") -> Any:
    import asr_models
    from asr_train.families import build_family
    from asr_train.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(["one two three four", "five six"], kind="char")
    configs = {
        "deepspeech2": asr_models.DeepSpeech2Config(
            convolutions=(asr_models.Convolution(channels=3, kernel=(3, 3), stride=(2, 2)),),
            recurrent_layers=1,
            recurrent_units=5,
            dropout=0.2,
        ),
        "las": asr_models.LasConfig(
            listener_layers=1,
            listener_units=6,
            speller_units=8,
            embedding_units=4,
            attention_units=6,
            dropout=0.2,
            sampling=0.3,
            ctc_head=True,
        ),
    }
    options = {"seed": 3, "smoothing": 0.1, "ctc_weight": 0.3, "precision": precision}
    return build_family(configs[kind], features=FEATURES, tokenizer=tokenizer, **options)


def batch_of(number: int, shard: tuple[int, int] = (0, 1)) -> Any:
    """A worker's part of global batch `number`; parts are padded to their own longest."""
    from asr_train.batches import Batch, pad
    from asr_train.plan import shard_of

    rng = np.random.default_rng(number)
    size = int(rng.integers(5, 9))
    utterances = []
    for _ in range(size):
        frames, labels = int(rng.integers(16, 40)), int(rng.integers(1, 5))
        speech = rng.normal(size=(frames, FEATURES)) + rng.normal(size=FEATURES)
        utterances.append((speech.astype(np.float32), rng.integers(4, 12, labels).astype(np.int32)))
    empty = np.zeros((0, FEATURES), np.float32), np.zeros(0, np.int32)
    rows = shard_of(np.arange(size, dtype=np.int32), size, shard)
    mine = [utterances[row] if row >= 0 else empty for row in rows]
    lengths = [np.array([len(part) for part in parts], np.int32) for parts in zip(*mine, strict=True)]
    features, labels = (pad(list(parts), 1) for parts in zip(*mine, strict=True))
    return Batch(features, lengths[0], labels, lengths[1], rows)


def run_steps(devices: Any, kind: str, options: dict[str, Any], *, steps: int = STEPS, fixed: bool = False) -> Any:
    """The state after the steps, and their outcomes."""
    import tensorflow as tf

    from asr_train.batches import Batch
    from asr_train.config import TrainConfig
    from asr_train.state import TrainingState
    from asr_train.steps import knobs_for, training_step

    config = TrainConfig(**{**CHECKED, **options})
    with devices.strategy.scope():
        family = family_of(kind, config.precision)
        state = TrainingState(family.model, config)
        state.begin_average()
    step = training_step(family, state, devices, fixed_shapes=fixed)
    outcomes = []
    for number in range(steps):
        batch = Batch(*map(tf.constant, batch_of(number, devices.shard)))
        votes = [config.learning_rate if devices.chief else 0.0, 1.0]
        outcomes.append(step(batch, knobs_for(config, number), votes))
    return state, outcomes


def flat(state: Any) -> dict[str, Any]:
    return {f"{group}/{name}": values for group, arrays in state.arrays().items() for name, values in arrays.items()}


def open_all(strategy: str) -> Any:
    """The devices; two logical ones to mirror."""
    import tensorflow as tf

    from asr_train.cluster import find_cluster
    from asr_train.devices import open_devices

    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return open_devices("cpu", strategy, find_cluster(os.environ))


def work(strategy: str, folder: Path, families: dict[str, dict[str, Any]]) -> None:
    """What one process does."""
    from asr_train.cluster import find_cluster
    from asr_train.watch import Watch

    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    cluster = find_cluster(os.environ)
    with Watch(cluster, patience=300) if cluster else nullcontext():
        devices = open_all(strategy)
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard, "the strategy has taken SIGTERM for itself"
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for kind, options in families.items():
            state, outcomes = run_steps(devices, kind, options)
            copies = [devices.strategy.experimental_local_results(v) for v in state.everything.values()]
            assert all(np.array_equal(own[0].numpy(), other.numpy()) for own in copies for other in own)
            numbers = np.array([[o.loss, o.labels, o.norm, *o.votes] for o in outcomes])
            np.savez(folder / f"{kind}.{devices.shard[0]}.npz", outcomes=numbers, **flat(state))


def fork(strategy: str, folder: Path, families: dict[str, dict[str, Any]], number: int, told: dict[str, str]) -> int:
    """A process that works, with an environment of its own."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        said = os.open(folder / f"{number}.out", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ.update(told)
        work(strategy, folder, families)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def main(output: Path, jobs: dict[str, tuple[str, int, dict[str, dict[str, Any]]]]) -> None:
    import asr_train.state
    import asr_train.steps  # noqa: F401  # once, for all the processes

    gc.freeze()
    spec = importlib.util.spec_from_file_location("run_workers", Path(__file__).parents[1] / "tools/run_workers.py")
    assert spec is not None and spec.loader is not None
    run_workers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run_workers)
    for name, (strategy, count, families) in jobs.items():
        folder = output / name
        folder.mkdir()
        told = run_workers.environments(count) if strategy == "workers" else [{}]
        processes = [fork(strategy, folder, families, n, one) for n, one in enumerate(told)]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        (folder / "statuses.json").write_text(json.dumps(statuses))


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
