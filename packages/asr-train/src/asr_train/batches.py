"""From utterances to padded batches: a plan in numpy, carried out by tf.data.

Which utterances share a batch is decided before an epoch starts, from their durations and a seed alone. So the order
can be had again when a run is resumed, and a step number says where in the data a run is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import asr_features
from asr_train.config import AugmentConfig
from asr_train.manifest import Utterance, read_audio
from asr_train.tokenizer import Tokenizer

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Normalize = Callable[[Floats], Floats]


class Batch(NamedTuple):
    """A padded batch. Padding is zero, and the lengths say where it begins."""

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


def normalized(samples: Floats, frontend: asr_features.Frontend, normalize: Normalize | None) -> Floats:
    """`(N,)` samples -> what a model reads, `(T, F)`, in training and in use alike."""
    features = frontend(samples)
    return features if normalize is None else normalize(features)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """An utterance to features and labels; in training, augmented anew in every epoch."""

    frontend: asr_features.Frontend
    normalize: Normalize | None
    tokenizer: Tokenizer
    augment: AugmentConfig | None = None
    seed: int = 0

    def __call__(self, utterance: Utterance, row: int, epoch: int) -> tuple[Floats, Ints]:
        """Features `(T, F)` and labels `(U,)`; equal (seed, epoch, row) give equal features.

        Raises:
            UserError: the audio cannot be read.
        """
        samples = read_audio(utterance, self.frontend.sample_rate)
        rng = np.random.default_rng([self.seed, epoch, row])
        if self.augment is not None and self.augment.speed != (1.0,):
            samples = asr_features.speed(samples, float(rng.choice(self.augment.speed)))
        features = normalized(samples, self.frontend, self.normalize)
        if self.augment is not None and isinstance(self.augment.spec_augment, asr_features.SpecAugment):
            features = self.augment.spec_augment(features, rng)
        return features, np.array(self.tokenizer.encode(utterance.text), np.int32)


def plan(
    seconds: Sequence[float],
    *,
    batch_seconds: float,
    buckets: int = 1,
    rng: np.random.Generator | None = None,
) -> list[Ints]:
    """Divide utterances of similar duration into batches of at most `batch_seconds`, padding included.

    Args:
        seconds: the duration of each utterance.
        batch_seconds: an utterance longer than this makes a batch of its own.
        buckets: durations are cut into so many ranges of equally many utterances, which are shuffled within each.
        rng: shuffles utterances and batches. Without it: by duration, longest first.

    Returns:
        The rows of each batch; every row is in exactly one.
    """
    order = np.argsort(np.negative(seconds), kind="stable").astype(np.int32)
    if rng is not None:
        order = np.concatenate([rng.permutation(part) for part in np.array_split(order, buckets)])
    batches: list[list[int]] = []
    longest = 0.0
    for row in order.tolist():
        longest = max(longest, seconds[row])
        if not batches or longest * (len(batches[-1]) + 1) > batch_seconds:
            batches.append([])
            longest = seconds[row]
        batches[-1].append(row)
    planned = [np.array(batch, np.int32) for batch in batches]
    return planned if rng is None else [planned[n] for n in rng.permutation(len(planned))]


def padding_share(seconds: Sequence[float], planned: list[Ints]) -> float:
    """The share of a plan's frames that are padding."""
    real = sum(float(np.sum(np.take(seconds, rows))) for rows in planned)
    padded = sum(float(np.max(np.take(seconds, rows))) * len(rows) for rows in planned)
    return 1 - real / padded if padded else 0.0


def pad(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Arrays `(n, ...)` of several lengths -> `(B, longest, ...)`, zero beyond each."""
    longest = max(len(array) for array in arrays)
    out = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


class Pipeline:
    """Reads planned batches ahead, in threads, in the order of the plan.

    Attributes:
        error: what went wrong in a reading thread; tf.data itself keeps only its text.
    """

    def __init__(self, utterances: Sequence[Utterance], reader: Reader, *, threads: int = 2, ahead: int = 4) -> None:
        self.utterances, self.reader, self.threads, self.ahead = utterances, reader, threads, ahead
        self.error: Exception | None = None

    def __call__(self, planned: list[Ints], *, epoch: int = 0, start: int = 0) -> tf.data.Dataset:
        """The batches of a plan from number `start` on."""

        def load(number: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
            try:
                return self._batch(planned[int(number)], epoch)
            except Exception as error:
                self.error = error
                raise

        dim, types = self.reader.frontend.dim, (tf.float32, tf.int32, tf.int32, tf.int32, tf.int32)
        shapes = ([None, None, dim], [None], [None, None], [None], [None])

        def read(number: tf.Tensor) -> Batch:
            tensors = tf.numpy_function(load, [number], types, stateful=False)
            return Batch(*(tf.ensure_shape(t, shape) for t, shape in zip(tensors, shapes, strict=True)))

        numbers = tf.data.Dataset.range(start, len(planned))
        return numbers.map(read, num_parallel_calls=self.threads, deterministic=True).prefetch(self.ahead)

    def _batch(self, rows: Ints, epoch: int) -> tuple[NDArray[np.generic], ...]:
        pairs = [self.reader(self.utterances[row], int(row), epoch) for row in rows]
        features, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        lengths = (np.array([len(part) for part in parts], np.int32) for parts in (features, labels))
        feature_lengths, label_lengths = lengths
        return pad(features), feature_lengths, pad(labels), label_lengths, rows
