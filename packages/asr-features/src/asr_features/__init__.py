"""Audio in, features out. `(N,)` float32 samples in [-1, 1] become `(T, F)` float32 features.

Each name is loaded when it is first asked for: who reads an audio file does not wait for the mel filters.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import presets
    from .audio import AudioInfo, blocks, info, read
    from .augment import POLICIES, SpecAugment
    from .batching import batch
    from .chain import Chain, Stage
    from .config import content_hash, from_json, to_json
    from .deltas import Deltas
    from .frontends import LogMel, Mfcc, Spectrogram
    from .interfaces import Frontend, Streaming
    from .normalize import GlobalNorm, RunningNorm, UtteranceNorm
    from .presets import PRESETS
    from .resampling import Resample, resample, speed
    from .signals import add_noise, dither, gain

__version__ = "0.2.0"

__all__ = [
    "POLICIES",
    "PRESETS",
    "AudioInfo",
    "Chain",
    "Deltas",
    "Frontend",
    "GlobalNorm",
    "LogMel",
    "Mfcc",
    "Resample",
    "RunningNorm",
    "SpecAugment",
    "Spectrogram",
    "Stage",
    "Streaming",
    "UtteranceNorm",
    "__version__",
    "add_noise",
    "batch",
    "blocks",
    "content_hash",
    "dither",
    "from_json",
    "gain",
    "info",
    "presets",
    "read",
    "resample",
    "speed",
    "to_json",
]

_HOMES = {
    "audio": (
        "AudioInfo",
        "blocks",
        "info",
        "read",
    ),
    "augment": (
        "POLICIES",
        "SpecAugment",
    ),
    "batching": ("batch",),
    "chain": (
        "Chain",
        "Stage",
    ),
    "config": (
        "content_hash",
        "from_json",
        "to_json",
    ),
    "deltas": ("Deltas",),
    "frontends": (
        "LogMel",
        "Mfcc",
        "Spectrogram",
    ),
    "interfaces": (
        "Frontend",
        "Streaming",
    ),
    "normalize": (
        "GlobalNorm",
        "RunningNorm",
        "UtteranceNorm",
    ),
    "presets": ("PRESETS",),
    "resampling": (
        "Resample",
        "resample",
        "speed",
    ),
    "signals": (
        "add_noise",
        "dither",
        "gain",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "presets":
        return import_module("asr_features.presets")
    if name not in _HOME:
        raise AttributeError(f"module 'asr_features' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"asr_features.{_HOME[name]}"), name)
    globals()[name] = value  # asked for once
    return value
