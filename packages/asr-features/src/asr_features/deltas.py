"""Deltas and delta-deltas: how the features change over time."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .batching import each
from .interfaces import Array

RULES = ("kaldi", "difference")
LAYOUTS = ("append", "channels")

_ROWS = 256  # frames at a time, so that what one step writes the next one finds in the cache


class DeltasState(NamedTuple):
    """What frames still to come need: the last frames before them, and those whose own deltas wait for more."""

    rows: Array


@dataclass(frozen=True, kw_only=True)
class Deltas:
    """The features with their first to `order`-th derivatives in time: `(T, F)` to `(T, F * (order + 1))`.

    The `rule` of one derivative, and what stands beyond the ends of the utterance:

    - "kaldi": d[t] = sum over j = 1 ... window of j (x[t + j] - x[t - j]) / (2 sum of j^2). Beyond the ends stand
      the first and last frame *of the features*, for every order: Kaldi's add-deltas, which convolves the kernel
      with itself. Delta-deltas of HTK and of `delta(delta(x))` repeat the edge deltas instead, and differ in
      the first and last 2 `window` frames. A frame waits for `lookahead` frames.
    - "difference": d[t] = x[t] - x[t - 1], and x[-1] = 0, so that the first frame of every derivative is that
      of the features (`delta_accelerate` of cosmoquester/speech-recognition). Waits for nothing; `window` is
      not used and stays 2.

    `layout` "append" puts the orders one after another, as Kaldi does; "channels" gives `(T, F, order + 1)`.
    float32, but float64 stays float64. Streams: `step` and `finish`, concatenated, equal one call on all, bit for
    bit.
    """

    order: int = 2
    window: int = 2
    rule: str = "kaldi"
    """"kaldi" or "difference"."""
    layout: str = "append"
    """"append" or "channels"."""

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        checks.positive_int("order", self.order)
        checks.positive_int("window", self.window)
        checks.one_of("rule", self.rule, RULES)
        checks.one_of("layout", self.layout, LAYOUTS)
        if self.rule == "difference" and self.window != 2:
            raise ValueError(f"window: the rule 'difference' has none, expected the default of 2, got {self.window}")

    @property
    def lookahead(self) -> int:
        """How many frames after it a frame waits for."""
        return self.order * self._reach[1]

    @property
    def _reach(self) -> tuple[int, int]:
        """How many frames before and after it one derivative looks at."""
        return (self.window, self.window) if self.rule == "kaldi" else (1, 0)

    def __call__(self, features: ArrayLike, /) -> Array:
        """The features and their derivatives. Raises ValueError unless the features are `(T, F)`."""
        rows = checks.features(features, channels=False)
        state = self.start()
        result = self._empty(len(rows), rows)
        done = 0
        for first in range(0, max(len(rows), 1), _ROWS):  # an empty block, too, has F features
            state, block = self.step(state, rows[first : first + _ROWS])
            result[done : done + len(block)] = block
            done += len(block)
        result[done:] = self.finish(state)
        return result

    def batch(self, features: ArrayLike, lengths: ArrayLike) -> Array:
        """The same of each utterance of a batch `(B, T, F)`, with `(B,)` frames: zeros beyond, bit for bit."""
        return each(self, features, lengths)

    def start(self) -> DeltasState:
        """The state before the first frame."""
        return DeltasState(np.empty((0, 0), np.float32))

    def step(self, state: DeltasState, features: ArrayLike, /) -> tuple[DeltasState, Array]:
        """Takes frames `(t, F)`; gives the new state and the frames that are complete, `lookahead` behind."""
        new = checks.features(features, channels=False)
        if len(state.rows) == 0:
            rows = self._begin(new)
        elif new.shape[1] == state.rows.shape[1]:
            rows = np.concatenate([state.rows, new])
        else:
            raise ValueError(f"features: expected shape (t, {state.rows.shape[1]}) as before, got {new.shape}")
        done = max(0, len(rows) - self.order * sum(self._reach))
        return DeltasState(rows[done:].copy()), self._apply(rows)

    def finish(self, state: DeltasState, /) -> Array:
        """The frames that waited for more; `(0, 0)` when there was never a step."""
        return self._apply(self._end(state.rows))

    def _begin(self, rows: Array) -> Array:
        """The rows, preceded by what stands before an utterance."""
        if len(rows) == 0:
            return rows
        before = np.repeat(rows[:1], self.order * self._reach[0], axis=0)
        return np.concatenate([before if self.rule == "kaldi" else np.zeros_like(before), rows])

    def _end(self, rows: Array) -> Array:
        """The rows, followed by what stands after an utterance."""
        return np.concatenate([rows, np.repeat(rows[-1:], self.lookahead, axis=0)]) if len(rows) else rows

    def _apply(self, rows: Array) -> Array:
        """The output for all rows but the context at their ends."""
        context, dim = self.order * sum(self._reach), rows.shape[1]
        count = max(0, len(rows) - context)
        result = self._empty(count, rows)
        orders = result.swapaxes(1, 2) if self.layout == "channels" else result.reshape(count, self.order + 1, dim)
        derivative = rows
        for order in range(self.order + 1):
            # Of a lower order more rows are known, by the reach of every derivative that is still to come.
            left = (self.order - order) * self._reach[0]
            orders[:, order] = derivative[left : left + count]
            if order < self.order and count:
                derivative = self._differentiate(derivative)
        return result

    def _empty(self, count: int, like: Array) -> Array:
        dim, orders = like.shape[1], self.order + 1
        return np.empty((count, dim, orders) if self.layout == "channels" else (count, dim * orders), like.dtype)

    def _differentiate(self, rows: Array) -> Array:
        """One derivative of the rows that have all their neighbours. Elementwise: the position changes no bit."""
        if self.rule == "difference":
            return rows[1:] - rows[:-1]
        window = self.window
        count = len(rows) - 2 * window
        total = rows[window + 1 :][:count] - rows[window - 1 :][:count]
        for j in range(2, window + 1):
            term = rows[window + j :][:count] - rows[window - j :][:count]
            term *= j
            total += term
        total /= 2 * sum(j * j for j in range(1, window + 1))
        return total
