"""Noise to be mixed into training utterances: recordings of it, or made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_train.config import NoiseConfig
from asr_train.errors import UserError
from asr_train.manifest import Utterance, measure, read_manifest

Floats = NDArray[np.float32]

MADE = 2**16
"""Samples of noise that are made, and repeated as long as an utterance lasts."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Samples to samples with noise in them: `(N,)` float32 and a generator -> `(N,)` float32.

    A signal-to-noise ratio is drawn uniformly in decibels; the noise is a random stretch of a random file, or white
    or pink noise where there are no files.
    """

    config: NoiseConfig
    sample_rate: int
    files: Sequence[Utterance] = ()

    def __call__(self, samples: Floats, rng: np.random.Generator) -> Floats:
        """Raises UserError when a noise file cannot be read."""
        snr = float(rng.uniform(*self.config.snr))
        noise = self._recorded(len(samples), rng) if self.files else self._made(rng)
        return asr_features.add_noise(samples, noise, snr_db=snr, rng=rng)

    def _recorded(self, count: int, rng: np.random.Generator) -> Floats:
        file = self.files[int(rng.integers(len(self.files)))]
        seconds, wanted = file.seconds or 0.0, count / self.sample_rate + 0.1
        start = float(rng.uniform(0, max(seconds - wanted, 0.0)))
        try:
            return asr_features.read(file.audio, sample_rate=self.sample_rate, start=start, stop=start + wanted)
        except (OSError, ValueError) as error:
            raise UserError(f"augment.noise: {file.row}: {error}") from None

    def _made(self, rng: np.random.Generator) -> Floats:
        kind = self.config.kinds[int(rng.integers(len(self.config.kinds)))]
        white = rng.standard_normal(MADE, np.float32)
        return white if kind == "white" else pink(white)


def pink(white: Floats) -> Floats:
    """White noise `(N,)` -> noise with 3 dB less power for each octave; it can be repeated without a seam."""
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, len(white)).astype(np.float32)


def load_noise(config: NoiseConfig | None, sample_rate: int) -> Noise | None:
    """The noise of a configuration; its manifests are read and their files looked at.

    Raises:
        UserError: a manifest that cannot be read, a file that is missing or not audio.
    """
    if config is None:
        return None
    files = [utterance for path in config.files for utterance in read_manifest(path)]
    return Noise(config=config, sample_rate=sample_rate, files=measure(files))
