"""From a plan to padded batches: carried out by tf.data, in threads, in the order of the plan."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_train.config import DataConfig
from asr_train.manifest import Utterance
from asr_train.meter import Meter
from asr_train.plan import Doubles, Ints, Shape, edges, padding_share, plan, rows_within, shard_of
from asr_train.quarantine import BadUtteranceError, Quarantine
from asr_train.reader import Floats, Normalize, Reader, normalized

__all__ = ["Batch", "Normalize", "Pipeline", "Reader", "Shape", "normalized", "pad", "padding_share", "plan"]

MULTIPLE = 8
"""Fixed sizes are multiples of this, as memory and matrix units like them."""


class Batch(NamedTuple):
    """A padded batch. Padding is zero, and the lengths say where it begins.

    A row that is no utterance, because its file is bad or to fill up a batch, has lengths 0 and number -1.
    """

    features: tf.Tensor
    """`(B, T, F)` float32."""
    feature_lengths: tf.Tensor
    """`(B,)` int32."""
    labels: tf.Tensor
    """`(B, U)` int32, without begin and end tokens."""
    label_lengths: tf.Tensor
    """`(B,)` int32."""
    rows: tf.Tensor
    """`(B,)` int32: which utterances these are."""


def pad(arrays: Sequence[NDArray[np.generic]], longest: int = 0) -> NDArray[np.generic]:
    """Arrays `(n, ...)` of several lengths -> `(B, n of the longest, ...)`, at least `longest`; zero beyond each."""
    longest = max(longest, *(len(array) for array in arrays))
    out = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


class Pipeline:
    """Plans the batches of an epoch, and reads planned batches ahead in threads.

    The plan, and what a row of it becomes, depend on (seed, epoch, row) alone: not on threads, workers or replicas.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        reader: Reader,
        *,
        data: DataConfig | None = None,
        shuffle: bool = True,
        quarantine: Quarantine | None = None,
        meter: Meter | None = None,
        ahead: int = 4,
    ) -> None:
        """Utterances must have their `seconds`; without a quarantine the first bad one ends the epoch."""
        self.utterances, self.reader, self.data = utterances, reader, data or DataConfig()
        self.shuffle, self.quarantine, self.meter, self.ahead = shuffle, quarantine, meter or Meter(), ahead
        self.seconds = np.array([u.seconds or 0.0 for u in utterances])

    def plan(self, epoch: int = 0) -> list[Ints]:
        """The rows of each global batch of an epoch; without shuffling the longest come first."""
        durations, batch_seconds = self.durations(epoch), self.data.batch_seconds
        if self.shuffle:
            rng = np.random.default_rng([self.reader.seed, epoch])
            return plan(durations, batch_seconds=batch_seconds, bounds=self.bounds, rng=rng)
        if self.data.static_shapes:
            return plan(durations, batch_seconds=batch_seconds, bounds=self.bounds)[::-1]
        return plan(durations, batch_seconds=batch_seconds)

    def durations(self, epoch: int) -> Doubles:
        """`(N,)` seconds of each utterance in an epoch, at the speed that it has there."""
        return self.seconds / self.reader.speeds(np.arange(len(self.seconds), dtype=np.int32), epoch)

    @cached_property
    def bounds(self) -> Doubles:
        """The longest duration of each bucket, ascending; the same in every epoch."""
        speeds = (1.0,) if self.reader.augment is None else self.reader.augment.speed
        return edges(np.concatenate([self.seconds / factor for factor in speeds]), self.data.buckets)

    @cached_property
    def shapes(self) -> list[Shape]:
        """The sizes of global batches, one a bucket, the most memory first.

        With `data.static_shapes` every batch has one of them, but for rows that fill it up to a multiple of the
        workers; else these are the largest that batches can be.
        """
        return sorted(self._shapes, key=lambda shape: (shape.rows * shape.frames, shape.frames), reverse=True)

    @cached_property
    def _shapes(self) -> list[Shape]:
        """The shape of each bucket, in the order of `bounds`."""
        counts = np.array([len(self.reader.tokenizer.encode(u.text)) for u in self.utterances])
        fastest = 1.0 if self.reader.augment is None else max(self.reader.augment.speed)
        shortest = self.seconds / fastest  # an utterance may be in the bucket of this, or in any longer one
        return [
            Shape(
                rows_within(float(bound), self.data.batch_seconds),
                _multiple(self.reader.frames(float(bound))),
                _multiple(int(counts[shortest <= bound].max(initial=1))),
            )
            for bound in self.bounds
        ]

    def shape_of(self, rows: Ints, epoch: int) -> Shape:
        """The least of `shapes` that a planned batch fits into."""
        longest = float(np.max(self.seconds[rows] / self.reader.speeds(rows, epoch)))
        fitting = [s for s, b in zip(self._shapes, self.bounds, strict=True) if longest <= b and len(rows) <= s.rows]
        return min(fitting, key=lambda shape: shape.rows * shape.frames)

    def __call__(
        self, planned: Sequence[Ints], *, epoch: int = 0, start: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """The batches of a plan from number `start` on.

        Args:
            planned: rows of the global batches.
            epoch: decides, with the reader's seed, how they are augmented.
            start: the first batch that is wanted.
            shard: (index, count) of a worker or replica: it gets its equal part of the rows of every batch, in order.

        Raises:
            UserError: a bad utterance, without a quarantine; one more than it may hold; noise that cannot be read.
        """
        dim, types = self.reader.frontend.dim, (tf.float32, tf.int32, tf.int32, tf.int32, tf.int32)
        shapes: tuple[list[int | None], ...] = ([None, None, dim], [None], [None, None], [None], [None])
        nothing = tuple(np.zeros([n or 0 for n in s], t.as_numpy_dtype) for s, t in zip(shapes, types, strict=True))
        failed: dict[int, Exception] = {}

        def load(number: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
            try:
                return self._batch(planned[int(number)], epoch, shard)
            except Exception as error:
                # Not raised here: TensorFlow would keep only its text, and print it with that of other threads.
                failed[int(number)] = error
                return nothing

        def read(number: tf.Tensor) -> Batch:
            tensors = tf.numpy_function(load, [number], types, stateful=False)
            return Batch(*(tf.ensure_shape(t, shape) for t, shape in zip(tensors, shapes, strict=True)))

        numbers = tf.data.Dataset.range(start, len(planned))
        batches = numbers.map(read, num_parallel_calls=self.data.threads, deterministic=True).prefetch(self.ahead)
        for number, batch in enumerate(batches, start):
            if number in failed:
                raise failed[number]
            yield batch

    def _batch(self, planned: Ints, epoch: int, shard: tuple[int, int]) -> tuple[NDArray[np.generic], ...]:
        before = time.thread_time()
        shape = self.shape_of(planned, epoch) if self.data.static_shapes else Shape(len(planned), 1, 1)
        rows = shard_of(planned, shape.rows, shard)
        features, labels = [], []
        for place, row in enumerate(rows):
            pair = self._read(int(row), epoch, shape) if row >= 0 else None
            if pair is None:
                rows[place] = -1
                pair = np.zeros((0, self.reader.frontend.dim), np.float32), np.zeros(0, np.int32)
            features.append(pair[0])
            labels.append(pair[1])
        feature_lengths, label_lengths = (
            np.array([len(part) for part in parts], np.int32) for parts in (features, labels)
        )
        padded = pad(features, shape.frames)
        self.meter.read(feature_lengths, padded.shape[1], time.thread_time() - before)
        return padded, feature_lengths, pad(labels, shape.labels), label_lengths, rows

    def _read(self, row: int, epoch: int, shape: Shape) -> tuple[Floats, Ints] | None:
        """Features and labels; None for an utterance that is bad, once it is listed."""
        utterance = self.utterances[row]
        try:
            features, labels = self.reader(utterance, row, epoch)
            if self.data.static_shapes and len(features) > shape.frames:
                told = f"{len(features)} frames, more than its {utterance.seconds:g} s have; correct its duration"
                raise BadUtteranceError(utterance, f"{utterance.audio}: {told}")
        except BadUtteranceError as bad:
            if self.quarantine is None:
                raise
            self.quarantine.add(bad)
            return None
        return features, labels


def _multiple(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE
