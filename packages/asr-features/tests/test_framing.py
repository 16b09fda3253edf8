"""Where frames lie, against numpy.pad and counting."""

import numpy as np
import pytest

from asr_features.framing import FRAMINGS, Framing, left_padding

SIZES = [(400, 160, 512), (7, 3, 8), (6, 6, 6), (5, 2, 16), (1, 1, 1), (9, 4, 9)]


def framing(kind, length, shift, size):
    return Framing(kind, length, shift, left_padding(kind, length, shift, size))


def counted(kind, samples, length, shift):
    """T by its definition."""
    if kind == "snip":
        return sum(first + length <= samples for first in range(0, samples, shift))
    if kind == "mirror":  # frames whose middle, shift // 2 rounded down, is within the signal
        return sum((t + 1) * shift - shift // 2 <= samples for t in range(samples + 1))
    if kind in ("center", "reflect"):
        return sum(t * shift <= samples for t in range(samples + 1)) if samples else 0
    if kind == "pad-end":
        return len(range(0, samples, shift))
    if kind == "cover":
        count = 0
        while samples and (count == 0 or (count - 1) * shift + length < samples):
            count += 1
        return count
    return sum((t + 1) * shift <= samples for t in range(samples + 1))


@pytest.mark.parametrize("length, shift, size", SIZES)
@pytest.mark.parametrize("kind", FRAMINGS)
def test_the_number_of_frames(kind, length, shift, size):
    for samples in [*range(3 * length + 2), 5000]:
        assert framing(kind, length, shift, size).num_frames(samples) == counted(kind, samples, length, shift)


@pytest.mark.parametrize("length, shift, size", SIZES)
@pytest.mark.parametrize("kind", [kind for kind, mode in FRAMINGS.items() if mode is not None])
def test_the_signal_goes_on_as_numpy_pads_it(kind, length, shift, size):
    law = framing(kind, length, shift, size)
    for samples in sorted({1, 2, 3, length - 1, length, 2 * length + 1, 5 * length} - {0}):
        signal = np.arange(1.0, samples + 1)
        count = law.num_frames(samples)
        stop = max(count - 1, 0) * shift + length - law.left
        padded = np.pad(signal, (law.left, max(0, stop - samples)), mode=FRAMINGS[kind])
        for first in (-law.left, 0, samples // 2):
            for last in {samples, stop} - {s for s in (samples, stop) if s < first}:
                got = law.extended(lambda a, b, x=signal: x[a:b], samples, first, last)
                assert np.array_equal(got, padded[first + law.left : last + law.left]), (samples, first, last)


def test_what_lies_within_is_not_copied():
    signal = np.arange(1000.0)
    got = framing("mirror", 400, 160, 512).extended(lambda a, b: signal[a:b], 1000, 10, 900)
    assert np.shares_memory(got, signal)


@pytest.mark.parametrize("length, shift, size", SIZES)
@pytest.mark.parametrize("kind", FRAMINGS)
def test_final_frames_are_final_and_what_they_leave_is_kept(kind, length, shift, size):
    """Frames that are final are the same however the signal goes on; later ones need nothing before `oldest`."""
    law = framing(kind, length, shift, size)
    rng = np.random.default_rng(0)

    def cut(signal, frame):
        first = frame * shift - law.left
        return law.extended(lambda a, b: signal[a:b], len(signal), first, first + length)

    for samples in range(1, 4 * length + 3, max(1, length // 7)):
        signal = rng.random(samples)
        final = law.final(samples)
        assert final <= law.num_frames(samples)
        oldest = law.oldest(final, samples)
        for more in (0, 1, 2, length, 3 * length):
            longer = np.concatenate([signal, rng.random(more)])
            for frame in range(final):
                assert np.array_equal(cut(longer, frame), cut(signal, frame))
            forgotten = longer.copy()
            forgotten[:oldest] = np.nan
            for frame in range(final, law.num_frames(len(longer))):
                assert np.array_equal(cut(forgotten, frame), cut(longer, frame))
