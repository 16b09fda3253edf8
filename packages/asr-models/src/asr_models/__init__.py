"""Listen-Attend-Spell and DeepSpeech2 for TensorFlow.

Configurations and presets are plain dataclasses and import at once; the models load TensorFlow when they are
first asked for, so that a command line can check a configuration without waiting for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig
from asr_models.presets import PRESETS

if TYPE_CHECKING:
    from asr_models.bridge import SpellerStep, log_probabilities
    from asr_models.deepspeech2 import DeepSpeech2
    from asr_models.interfaces import AcousticModel, Encoded, Speller
    from asr_models.las import Las
    from asr_models.losses import cross_entropy, ctc_loss

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "AcousticModel",
    "Convolution",
    "DeepSpeech2",
    "DeepSpeech2Config",
    "Encoded",
    "Las",
    "LasConfig",
    "Speller",
    "SpellerStep",
    "cross_entropy",
    "ctc_loss",
    "log_probabilities",
]

_NEEDS_TENSORFLOW = {
    "AcousticModel": "interfaces",
    "DeepSpeech2": "deepspeech2",
    "Encoded": "interfaces",
    "Las": "las",
    "Speller": "interfaces",
    "SpellerStep": "bridge",
    "cross_entropy": "losses",
    "ctc_loss": "losses",
    "log_probabilities": "bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TENSORFLOW:
        raise AttributeError(f"module 'asr_models' has no attribute {name!r}")
    return getattr(import_module(f"asr_models.{_NEEDS_TENSORFLOW[name]}"), name)
