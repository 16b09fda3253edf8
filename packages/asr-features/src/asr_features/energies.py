"""From samples to log energies, a block of frames at a time: the path that costs the time.

A frame's features, to the last bit, depend neither on its place in a block nor on what surrounds it.
Everything is elementwise, or a sum within a row of fixed length, but for the FFT and the matrix products,
which round differently in the remainder loops behind their last whole group of rows: those get whole groups
of rows, the ones beyond the last frame zero.
"""

from typing import Any

import numpy as np

from .buffers import Block, frames_of
from .interfaces import Array
from .plan import LOGS, Plan


def log_energies(block: Block, segment: Array, out: Array, energy: Array | None) -> None:
    """Writes the logarithms `(count, M)` of the frames of a contiguous segment of the signal.

    And into `energy` `(count,)`, where it is given, the logarithm of each frame's energy.
    """
    plan, power = block.plan, block.power
    frames = frames_of(plan, segment, block.num_frames)
    sums = _row_sums(frames) if plan.remove_dc else None
    if energy is not None and plan.energy == "raw":
        energy[:] = _raw_energy(block, frames, sums)
    _window(block, segment, frames, sums)
    np.absolute(plan.rfft(block.windowed), power)  # of complex64 it is vectorised: re^2 + im^2 takes longer
    if plan.power == 2:
        np.multiply(power, power, power)
    if energy is not None and plan.energy == "spectrum":
        totals = _row_sums(power[: block.num_frames]) * plan.energy_gain
        energy[:] = _logarithm(plan, totals, _floors(plan, totals), totals)
    if block.filters:
        block.unused.fill(0)
        for product in block.filters:
            product()
    _logarithm(plan, block.energies, block.floors, out)


def transform(block: Block, logs: Array, out: Array) -> None:
    """Writes the cepstral coefficients `(count, C)` of logarithms `(count, M)`, which may be `block.energies`."""
    if logs is not block.energies:
        block.energies[:] = logs
    block.beyond_energies.fill(0)
    for product in block.cosines:
        product()
    out[:] = block.cepstra


def emphasise(samples: Array, gain: Any, out: Array, scratch: Array) -> None:
    """Writes x[n] - a x[n-1], a = 1 - gain, for every sample; for the first, of which it does not know, 0.

    The form (x[n] - x[n-1]) + (1 - a) x[n-1] keeps the error of single precision as small as in Kaldi's order.
    """
    before, following = samples[:-1], out[1:]
    out[0] = 0
    np.subtract(samples[1:], before, following)
    np.multiply(before, gain, scratch)
    np.add(following, scratch, following)


def _window(block: Block, segment: Array, frames: Array, sums: Array | None) -> None:
    """Writes the frames without their mean, pre-emphasised and windowed.

    The mean and pre-emphasis are linear, so pre-emphasis is computed once a sample instead of once in every
    frame that holds it, and of a frame's mean what passes pre-emphasis, (1 - a) mean, is subtracted after it.
    The window is multiplied in place, whole rows with their padding: numpy is several times quicker on
    contiguous memory than on short overlapping rows.
    """
    plan, source = block.plan, frames
    if plan.within:
        emphasise(segment, plan.gain, block.emphasised, block.shifted)
        source = block.emphasised_frames
    if sums is None:
        block.frames[:] = source
    else:
        np.subtract(source, (sums * plan.constant)[:, None], block.frames)
    block.beyond.fill(0)
    np.multiply(block.groups, plan.window, block.groups)
    if plan.within and plan.window[0, 0]:  # the first sample of a frame has none before it
        firsts = frames[:, 0] if sums is None else frames[:, 0] - sums * plan.mean
        block.frames[:, 0] = firsts * (plan.gain * plan.window[0, 0])


def _raw_energy(block: Block, frames: Array, sums: Array | None) -> Array:
    """The logarithm of the energy of the frame before pre-emphasis and window, as Kaldi's."""
    plan, centred = block.plan, block.frames  # not in use yet
    np.subtract(frames, 0 if sums is None else (sums * plan.mean)[:, None], centred)
    np.multiply(centred, centred, centred)
    energies = _row_sums(centred) * plan.energy_gain
    return _logarithm(plan, energies, _floors(plan, energies), energies)


def _floors(plan: Plan, energies: Array) -> Array | None:
    return None if plan.floors is None else plan.floors[: len(energies)]


def _logarithm(plan: Plan, energies: Array, floors: Array | None, out: Array) -> Array:
    """Writes the logarithms; changes the energies, which may be `out`."""
    function, factor, constant = LOGS[plan.log]
    if function is None:
        out[...] = energies
        return out
    if floors is not None:  # numpy's maximum of an array and a number is not vectorised, that of two arrays is
        np.maximum(energies, floors, out=energies)
    if plan.offset:
        np.add(energies, plan.offset, energies)
    function(energies, out)
    if factor != 1:
        np.multiply(out, factor, out)
    if constant:
        np.add(out, constant, out)
    return out


def _row_sums(rows: Array) -> Array:
    """The sum of every row, whatever the rows around it.

    einsum is the quickest; rows of more than 8192 it would split, not always at the same places.
    """
    if rows.shape[1] <= 8192:
        return np.asarray(np.einsum("ij->i", rows))
    return _row_sums(rows[:, :8192]) + _row_sums(rows[:, 8192:])
