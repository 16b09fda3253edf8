"""From an utterance to what a model is trained on: decoded, changed, analysed, masked.

Nothing here loads TensorFlow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_train.cache import Store, Variant
from asr_train.config import AugmentConfig
from asr_train.manifest import Utterance, read_audio
from asr_train.noise import Noise
from asr_train.plan import Doubles, Ints, draws
from asr_train.quarantine import BadUtteranceError
from asr_train.tokenizer import Tokenizer

Floats = NDArray[np.float32]
Normalize = Callable[[Floats], Floats]

SPEED, PITCH = 0, 1  # which draw


def normalized(samples: Floats, frontend: asr_features.Frontend, normalize: Normalize | None) -> Floats:
    """`(N,)` samples -> what a model reads, `(T, F)`, in training and in use alike."""
    features = frontend(samples)
    return features if normalize is None else normalize(features)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """An utterance to features and labels; in training, augmented anew in every epoch.

    Everything random is a function of (seed, epoch, row): of which thread or worker reads it nothing depends.
    """

    frontend: asr_features.Frontend
    normalize: Normalize | None
    tokenizer: Tokenizer
    augment: AugmentConfig | None = None
    seed: int = 0
    cut: float | None = None
    """Seconds after which audio is cut off."""
    store: Store | None = None
    """Keeps features before noise and gain, which are random, could change them: those are never kept."""
    noise: Noise | None = None
    """What `augment.noise` is drawn from."""

    def __call__(self, utterance: Utterance, row: int, epoch: int) -> tuple[Floats, Ints]:
        """Features `(T, F)` float32 and labels `(U,)` int32; equal (seed, epoch, row) give equal features.

        Raises:
            BadUtteranceError: the audio cannot be read, is shorter than a frame, or its features are not finite.
            UserError: a noise file cannot be read.
        """
        rng = np.random.default_rng([self.seed, epoch, row])
        features = _usable(utterance, self._features(utterance, self.variant(row, epoch), rng))
        if self.normalize is not None:
            features = self.normalize(features)
        if self.augment is not None and isinstance(self.augment.spec_augment, asr_features.SpecAugment):
            features = self.augment.spec_augment(features, rng)
        return features, np.array(self.tokenizer.encode(utterance.text), np.int32)

    def variants(self, utterance: Utterance, variants: Sequence[Variant]) -> list[Floats]:
        """Features `(T, F)` in each of several variants, neither normalised nor masked. Raises BadUtteranceError."""
        samples = self._samples(utterance)
        return [_usable(utterance, self._analysed(samples, variant)) for variant in variants]

    def speeds(self, rows: Ints, epoch: int) -> Doubles:
        """How fast each of these rows is played, `(n,)`: their durations are divided by it."""
        factors = np.array((1.0,) if self.augment is None else self.augment.speed)
        return factors[draws(len(factors), seed=self.seed, epoch=epoch, rows=rows, what=SPEED)]

    def variant(self, row: int, epoch: int) -> Variant:
        """Speed and pitch of a row."""
        if self.augment is None or (len(self.augment.speed) == 1 and len(self.augment.pitch) == 1):
            return Variant() if self.augment is None else Variant(self.augment.speed[0], self.augment.pitch[0])
        pitch = draws(len(self.augment.pitch), seed=self.seed, epoch=epoch, rows=row, what=PITCH)
        return Variant(float(self.speeds(np.array([row]), epoch)[0]), self.augment.pitch[int(pitch[0])])

    def frames(self, seconds: float) -> int:
        """How many frames audio of a duration has, a few more than it may turn out to be."""
        slack = 2  # durations in manifests are rounded, and so are the lengths of resampled audio
        return self.frontend.num_frames(math.ceil(seconds * self.frontend.sample_rate)) + slack

    def _features(self, utterance: Utterance, variant: Variant, rng: np.random.Generator) -> Floats:
        change = None if self.augment is None else self._change(rng)
        if change is None and self.store is not None:
            try:
                return self.store(utterance, variant, lambda: self._analysed(self._samples(utterance), variant))
            except FileNotFoundError:
                raise BadUtteranceError(utterance, f"{utterance.audio}: there is no such audio file") from None
        samples = self._samples(utterance)
        return self._analysed(samples if change is None else change(samples), variant)

    def _samples(self, utterance: Utterance) -> Floats:
        try:
            return read_audio(utterance, self.frontend.sample_rate, stop=self.cut)
        except ValueError as error:
            raise BadUtteranceError(utterance, str(error).removeprefix(f"{utterance.row}: ")) from None

    def _change(self, rng: np.random.Generator) -> Callable[[Floats], Floats] | None:
        """What noise and gain do to the samples; none where nothing was drawn."""
        augment = self.augment
        if augment is None:
            return None
        noisy = augment.noise is not None and rng.random() < augment.noise.probability
        if not noisy and augment.gain is None:
            return None
        level = 0.0 if augment.gain is None else float(rng.uniform(*augment.gain))

        def change(samples: Floats) -> Floats:
            if noisy and self.noise is not None:
                samples = self.noise(samples, rng)
            return asr_features.gain(samples, level) if augment.gain is not None else samples

        return change

    def _analysed(self, samples: Floats, variant: Variant) -> Floats:
        """Samples to features, faster and higher by the variant's factors.

        Pitch: played faster, then analysed with frames as much closer together, so that their number stays. It raises
        the voice and its formants alike, as a smaller speaker's are, and leaves the tempo.
        """
        if variant.speed != 1:
            samples = asr_features.speed(samples, variant.speed)
        if variant.pitch == 1:
            return self.frontend(samples)
        return stretched(
            self.frontend(asr_features.speed(samples, variant.pitch)), self.frontend.num_frames(len(samples))
        )


def _usable(utterance: Utterance, features: Floats) -> Floats:
    if not len(features):
        raise BadUtteranceError(utterance, f"{utterance.audio}: shorter than one frame of features")
    if not np.isfinite(features).all():
        raise BadUtteranceError(utterance, f"{utterance.audio}: its features are not finite")
    return features


def stretched(features: Floats, frames: int) -> Floats:
    """`(T, F)` -> `(frames, F)`, interpolated linearly in time; the ends stay."""
    if len(features) < 2 or len(features) == frames:
        return features[:frames] if len(features) >= frames else np.repeat(features, frames, axis=0)
    places = np.linspace(0, len(features) - 1, frames)
    before = np.minimum(places.astype(int), len(features) - 2)
    weight = (places - before).astype(np.float32)[:, None]
    return features[before] * (1 - weight) + features[before + 1] * weight
