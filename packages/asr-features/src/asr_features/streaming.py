"""One call, or start, step and finish: the same frames, bit for bit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .buffers import Buffers, borrow, give_back
from .energies import emphasise, log_energies, transform
from .interfaces import Array
from .plan import Plan


class StreamState(NamedTuple):
    """What a front end keeps between two pieces of a signal; it pickles."""

    tail: Array
    """The last samples, as far back as a later frame can need."""
    samples: int
    """N so far."""
    frames: int
    """T so far."""
    peak: float
    """The maximum of the logarithms so far, for `top_over="running"`."""


class _Signal(NamedTuple):
    """What is at hand of a signal: its samples from `begin` on, up to the N that there are so far."""

    samples: Array
    begin: int
    length: int

    def read(self, plan: Plan, first: int, stop: int) -> Array:
        """Samples first .. stop - 1, contiguous; pre-emphasised if that runs over the signal."""
        if not plan.over_signal or stop == first:
            return self.raw(plan, first, stop)
        raw = self.raw(plan, max(first - 1, 0), stop)
        out = np.empty_like(raw)
        emphasise(raw, plan.gain, out, np.empty_like(raw[1:]))
        if first > 0:
            return out[1:]
        out[0] = raw[0]
        return out

    def raw(self, plan: Plan, first: int, stop: int) -> Array:
        return np.ascontiguousarray(self.samples[first - self.begin : stop - self.begin], plan.dtype)


def offline(plan: Plan, samples: ArrayLike) -> Array:
    """The features `(T, F)` of a whole signal."""
    signal = checks.one_channel(samples)
    count = plan.framing.num_frames(len(signal))
    return _features(plan, _Signal(signal, 0, len(signal)), 0, count, -np.inf)[0]


def start(plan: Plan) -> StreamState:
    """The state before the first sample; raises ValueError when the front end cannot stream."""
    if plan.whole:
        raise ValueError(
            'top_over: cannot stream with "utterance", whose maximum is known at its end; '
            '"running" takes that of the frames so far'
        )
    return StreamState(np.empty(0, plan.dtype), 0, 0, -np.inf)


def step(plan: Plan, state: StreamState, samples: ArrayLike) -> tuple[StreamState, Array]:
    """Takes `(n,)` samples; gives the new state and the frames `(t, F)` that no later sample changes."""
    given = checks.one_channel(samples)
    tail = np.concatenate((state.tail, given), dtype=plan.dtype)
    length = state.samples + len(given)
    begin = length - len(tail)
    count = max(state.frames, plan.framing.final(length))
    features, peak = _features(plan, _Signal(tail, begin, length), state.frames, count, state.peak)
    kept = tail[plan.framing.oldest(count, length) - begin :].copy()
    return StreamState(kept, length, count, peak), features


def finish(plan: Plan, state: StreamState) -> Array:
    """The frames `(t, F)` that the end of the signal completes; the state is as it was."""
    signal = _Signal(state.tail, state.samples - len(state.tail), state.samples)
    return _features(plan, signal, state.frames, plan.framing.num_frames(state.samples), state.peak)[0]


def _features(plan: Plan, signal: _Signal, first: int, stop: int, peak: float) -> tuple[Array, float]:
    """The features of frames first .. stop - 1, and the maximum of the logarithms so far."""
    count = stop - first
    features = np.empty((count, plan.dim), plan.dtype)
    if count == 0:
        return features, peak
    out, energy = features, None
    if plan.energy:
        out, energy = features[:, plan.columns], features[:, plan.energy_column]
    buffers = borrow(plan, count)
    logs = np.empty((count, buffers.energies.shape[1]), plan.dtype) if plan.whole and plan.cepstra else out
    for begin in range(0, count, plan.rows):
        here = slice(begin, min(begin + plan.rows, count))
        block = buffers.block(here.stop - begin)
        values = block.energies if plan.cepstra and not plan.whole else logs[here]
        segment = _segment(plan, signal, first + begin, first + here.stop)
        log_energies(block, segment, values, None if energy is None else energy[here])
        if plan.top is not None:
            peak = max(peak, float(values.max())) if plan.whole else _clip(values, plan.top, peak)
        if plan.cepstra and not plan.whole:
            transform(block, values, out[here])
    if plan.whole and plan.top is not None:
        _clip_whole(plan, buffers, logs, peak - plan.top, out)
    give_back(buffers)
    return features, peak


def _segment(plan: Plan, signal: _Signal, first: int, stop: int) -> Array:
    """The samples of frames first .. stop - 1."""
    length, shift, left = plan.framing.length, plan.framing.shift, plan.framing.left
    begin, end = first * shift - left, (stop - 1) * shift + length - left
    if signal.begin <= begin and end <= signal.length and not plan.over_signal:  # as nearly always: nothing to do
        return signal.raw(plan, begin, end)
    return plan.framing.extended(lambda a, b: signal.read(plan, a, b), signal.length, begin, end)


def _clip(logs: Array, top: float, peak: float) -> float:
    """Raises what is more than `top` below the maximum of the frames so far; gives that maximum."""
    peaks = np.maximum.accumulate(np.maximum(logs.max(axis=1), logs.dtype.type(peak)))
    np.maximum(logs, (peaks - top)[:, None], out=logs)
    return float(peaks[-1])


def _clip_whole(plan: Plan, buffers: Buffers, logs: Array, least: float, out: Array) -> None:
    """Raises what is below `least`, and writes what is then left to do into `out`."""
    floors = np.full((min(plan.rows, len(logs)), logs.shape[1]), least, logs.dtype)  # numpy is quickest with two arrays
    for begin in range(0, len(logs), plan.rows):
        values = logs[begin : begin + plan.rows]
        np.maximum(values, floors[: len(values)], out=values)
        if plan.cepstra:
            transform(buffers.block(len(values)), values, out[begin : begin + plan.rows])
