"""Audio in, log-mel frames out. `(N,)` float32 samples in [-1, 1] become `(T, F)` float32 features."""

from . import presets
from .audio import AudioInfo, info, read
from .augment import POLICIES, SpecAugment
from .frontends import LogMel
from .interfaces import Frontend, Streaming
from .normalize import GlobalNorm, UtteranceNorm
from .presets import PRESETS
from .resample import resample, speed

__version__ = "0.1.0"

__all__ = [
    "POLICIES",
    "PRESETS",
    "AudioInfo",
    "Frontend",
    "GlobalNorm",
    "LogMel",
    "SpecAugment",
    "Streaming",
    "UtteranceNorm",
    "__version__",
    "info",
    "presets",
    "read",
    "resample",
    "speed",
]
