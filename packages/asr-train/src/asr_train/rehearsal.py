"""The largest batch before the first step: if memory is short, it is so now and not in the night."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from asr_train.batches import Pipeline
from asr_train.config import RunConfig
from asr_train.devices import Devices
from asr_train.errors import UserError
from asr_train.steps import Knobs, nothing


def rehearse(
    step: Callable[..., Any], data: Pipeline, devices: Devices, config: RunConfig, tell: Callable[[str], None]
) -> None:
    """Run the step on batches without an utterance, which change nothing: the largest, or each fixed shape.

    Raises:
        UserError: out of memory, with what to do.
    """
    shapes = data.shapes if config.data.static_shapes else data.shapes[:1]
    started = time.perf_counter()
    for shape in shapes:
        rows = -(-shape.rows // devices.shard[1])
        before = time.perf_counter()
        with memory_advice(config, f"{shape.rows} utterances of {shape.frames} frames"):
            step(nothing(rows, shape.frames, config.features.dim, shape.labels), Knobs(0, 0, update=False), [0.0] * 4)
        if config.train.jit_compile:
            size = f"{shape.rows} x {shape.frames} frames, {shape.labels} labels"
            tell(f"compiled for batches of {size} in {time.perf_counter() - before:.1f} s")
    first, spent = shapes[0], time.perf_counter() - started
    tell(
        f"the largest batch, {first.rows} utterances of {first.frames} frames, fits: {spent:.1f} s to build and try "
        f"{len(shapes)} size{'s' * (len(shapes) > 1)}, {memory(devices):.2f} GB at most"
    )


def memory(devices: Devices) -> float:
    """The most that this process has held, in GB: of the accelerator where there is one, else of the machine."""
    name = str(devices.strategy.extended.worker_devices[0])
    if "GPU" in name:
        return float(tf.config.experimental.get_memory_info(name)["peak"]) / 1e9
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e9 if sys.platform == "darwin" else held / 1e6


@contextmanager
def memory_advice(config: RunConfig, what: str) -> Iterator[None]:
    """Raises UserError instead of TensorFlow's error where memory runs out."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise UserError(
            f"out of memory with {what}: lower data.batch_seconds (now {config.data.batch_seconds:g}; train.accumulate "
            f"makes up for it) or data.max_seconds (now {config.data.max_seconds:g}), or use more devices"
        ) from None
