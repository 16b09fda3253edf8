"""Resampling and speed perturbation of ten seconds: CPU time, one thread, in turns with other libraries."""

from fractions import Fraction

import interleave  # first: it sets the limits on threads
import numpy as np
from libraries import torchaudio

import asr_features

RATE = interleave.RATE
CASES = {
    "speed 0.9": (9, 10),
    "speed 1.1": (11, 10),
    "48 to 16 kHz": (48000, 16000),
    "44.1 to 16 kHz": (44100, 16000),
}
# At least how many times our CPU time each is to take for a speed.
GOALS = {"torchaudio": 1.5, "scipy resample_poly": 3}


def ours(samples, source, target):
    return lambda: asr_features.resample(samples, source, target)


def by_torchaudio(samples, source, target):
    """torchaudio.transforms.Resample, which keeps its kernel."""
    import torch

    resample = torchaudio().transforms.Resample(source, target)
    signal = torch.from_numpy(samples)
    return lambda: resample(signal)


def by_soxr(samples, source, target):
    """soxr at its default quality, HQ."""
    import soxr

    return lambda: soxr.resample(samples, source, target)


def by_scipy(samples, source, target):
    import scipy.signal

    ratio = Fraction(target, source)
    return lambda: scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator)


PEERS = {
    "torchaudio": ("torch torchaudio", by_torchaudio),
    "soxr": ("soxr", by_soxr),
    "scipy resample_poly": ("scipy", by_scipy),
}


def main() -> None:
    options = interleave.arguments(__doc__, rounds=25)
    (signal, *_), _ = interleave.utterances(1)
    peers = {name: make for name, (needs, make) in PEERS.items() if interleave.present(needs)}
    calls = {}
    for case, (source, target) in CASES.items():
        rate = source if source >= RATE else RATE
        samples = np.resize(signal, 10 * rate)
        for name, make in {"ours": ours, **peers}.items():
            calls[f"{case} {name}"] = make(samples, source, target)
    seconds = interleave.interleave(calls, options.rounds)
    lines = []
    for case in CASES:
        mine = seconds[f"{case} ours"]
        others = [seconds[f"{case} {name}"] for name in peers]
        lines.append([case, f"{1e3 * mine:.2f}", *(f"{1e3 * s:.2f} (**{s / mine:.2f}**)" for s in others)])
    lines.append(["goal for speeds", "", *(f"{GOALS[name]:g}" if name in GOALS else "" for name in peers)])
    text = (
        "Ten seconds of float32, on one thread: CPU ms, and times our CPU; the medians of "
        f"{options.rounds} rounds in turns. torchaudio's kernel is made before, as is ours."
    )
    header = ["resampling", "asr-features", *peers]
    modules = ["torch", "torchaudio", "soxr"]
    interleave.report(__file__, "Resampling", [text, interleave.table(header, lines)], modules, options.output)


if __name__ == "__main__":
    main()
