"""The recipes of libraries.py as asr_features computes them, and how far from the library each may be.

The distances are of |ours - theirs| in the features' own units, on speech: the greatest, the 99.99th percentile, and
the mean. Where two libraries round in single precision, the greatest is found in near-silent filters, and says more of
their rounding than of ours: Kaldi's features at the scale of int16 are themselves up to 7e-3 from the exact ones.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from asr_features import Chain, Deltas, Mfcc, UtteranceNorm, presets


class Distance(NamedTuple):
    most: float
    tail: float
    """The 99.99th percentile."""
    mean: float


class Pair(NamedTuple):
    ours: Callable
    bar: Distance


def distance(ours, theirs, utterances) -> Distance:
    """How far two functions are apart over all features of all utterances."""
    pairs = [(ours(samples), np.asarray(theirs(samples), np.float64)) for samples in utterances]
    for got, expected in pairs:
        assert got.shape == expected.shape
    difference = np.sort(np.concatenate([np.abs(got - expected).ravel() for got, expected in pairs]))
    return Distance(difference[-1], difference[int(0.9999 * len(difference))], difference.mean())


KALDI = Distance(2e-2, 1e-3, 5e-6)
CEPSTRA = Distance(5e-3, 1e-3, 2e-5)
DECIBELS = Distance(1e-2, 3e-3, 1e-4)  # the coefficients of decibels go into the hundreds
LOG_MEL = Distance(5e-3, 5e-4, 1e-5)
SPECTRUM = Distance(5e-1, 1e-2, 3e-5)  # a bin by itself can be as good as empty
WHISPER = Distance(1e-4, 3e-5, 1e-6)
DOUBLE = Distance(1e-5, 1e-5, 1e-6)

KALDI_MFCC_13_C0 = replace(presets.KALDI_MFCC_13, energy=None)
TORCHAUDIO_MFCC_40 = Mfcc(mel=replace(presets.TORCHAUDIO_80, log="db", top=80.0), num_ceps=40, lifter=0.0)
MIRRORED_MFCC_13 = replace(presets.KALDI_MFCC_13, mel=replace(presets.KALDI_23, framing="mirror"))
LIBROSA_80_DOUBLE = replace(presets.LIBROSA_80, dtype="float64")
LIBROSA_MFCC_20_DOUBLE = replace(presets.LIBROSA_MFCC_20, mel=replace(presets.LIBROSA_MFCC_20.mel, dtype="float64"))

PAIRS = {
    "kaldi-80": Pair(presets.KALDI_80, KALDI),
    "kaldi-80 mirror": Pair(replace(presets.KALDI_80, framing="mirror"), KALDI),
    "kaldi-80-unit": Pair(presets.KALDI_80_UNIT, KALDI),
    "kaldi-40": Pair(presets.KALDI_40, KALDI),
    "kaldi-23": Pair(presets.KALDI_23, KALDI),
    "kaldi-23 energy": Pair(replace(presets.KALDI_23, energy="first"), KALDI),
    "kaldi-23 energy last": Pair(replace(presets.KALDI_23, energy="last"), KALDI),
    "kaldi-80 torchaudio": Pair(presets.KALDI_80, KALDI._replace(mean=2e-5)),
    "icefall-80": Pair(presets.ICEFALL_80, KALDI),
    "icefall-80 lhotse": Pair(presets.ICEFALL_80, KALDI._replace(mean=2e-5)),
    "kaldi-mfcc-13": Pair(presets.KALDI_MFCC_13, CEPSTRA),
    "kaldi-mfcc-13 mirror": Pair(MIRRORED_MFCC_13, CEPSTRA),
    "kaldi-mfcc-13 c0": Pair(KALDI_MFCC_13_C0, CEPSTRA),
    "kaldi-mfcc-13 deltas": Pair(Chain(presets.KALDI_MFCC_13, Deltas()), CEPSTRA),
    "kaldi-mfcc-13 torchaudio": Pair(presets.KALDI_MFCC_13, CEPSTRA._replace(mean=1e-4)),
    "kaldi-mfcc-40": Pair(presets.KALDI_MFCC_40, CEPSTRA),
    "htk-26": Pair(presets.HTK_26, LOG_MEL),
    "htk-mfcc-13": Pair(presets.HTK_MFCC_13, CEPSTRA),
    "whisper-80": Pair(presets.WHISPER_80, WHISPER),
    "whisper-128": Pair(presets.WHISPER_128, WHISPER),
    "librosa-80": Pair(presets.LIBROSA_80, LOG_MEL),
    "librosa-80 float64": Pair(LIBROSA_80_DOUBLE, DOUBLE),
    "librosa-mfcc-20": Pair(presets.LIBROSA_MFCC_20, DECIBELS),
    "librosa-mfcc-20 float64": Pair(LIBROSA_MFCC_20_DOUBLE, DOUBLE),
    "torchaudio-80": Pair(presets.TORCHAUDIO_80, LOG_MEL),
    "torchaudio-mfcc-40": Pair(TORCHAUDIO_MFCC_40, DECIBELS),
    "nemo-80": Pair(presets.NEMO_80, LOG_MEL),
    "nemo-80 normalized": Pair(Chain(presets.NEMO_80, UtteranceNorm(ddof=1, divide="sum")), LOG_MEL),
    "espnet-80": Pair(presets.ESPNET_80, LOG_MEL),
    "psf-26": Pair(presets.PSF_26, LOG_MEL),
    "psf-mfcc-13": Pair(presets.PSF_MFCC_13, CEPSTRA),
    "psf-mfcc-13 deltas": Pair(Chain(presets.PSF_MFCC_13, Deltas(order=1)), CEPSTRA),
    "tensorflow-80": Pair(presets.TENSORFLOW_80, LOG_MEL),
    "tensorflow-mfcc-13": Pair(presets.TENSORFLOW_MFCC_13, CEPSTRA),
    "tensorflow-asr-80": Pair(presets.TENSORFLOW_ASR_80, LOG_MEL),
    "tensorflow-spectrogram-257": Pair(presets.TENSORFLOW_SPECTROGRAM_257, SPECTRUM),
}
