"""Listen-Attend-Spell and DeepSpeech2 for TensorFlow.

Configurations and presets are plain dataclasses and import at once; the models load TensorFlow when they are
first asked for, so that a command line can check a configuration without waiting for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asr_models.config_json import from_json, to_json
from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig
from asr_models.presets import PRESETS
from asr_models.reference import from_reference

if TYPE_CHECKING:
    from asr_models.bridge import (
        SpellerStep,
        assign_weights,
        export,
        load_weights,
        log_probabilities,
        save_weights,
        weights_of,
    )
    from asr_models.cells import GruCell, LstmCell, RnnCell
    from asr_models.deepspeech2 import DeepSpeech2
    from asr_models.interfaces import AcousticModel, Encoded, Speller
    from asr_models.keras_weights import from_keras, to_keras
    from asr_models.las import Las
    from asr_models.losses import average_loss, correct_tokens, cross_entropy, ctc_feasible, ctc_loss, joint_loss
    from asr_models.recurrent import Recurrent
    from asr_models.streaming import StreamingDeepSpeech2

__version__ = "0.2.5"

__all__ = [
    "PRESETS",
    "AcousticModel",
    "Convolution",
    "DeepSpeech2",
    "DeepSpeech2Config",
    "Encoded",
    "GruCell",
    "Las",
    "LasConfig",
    "LstmCell",
    "Recurrent",
    "RnnCell",
    "Speller",
    "SpellerStep",
    "StreamingDeepSpeech2",
    "assign_weights",
    "average_loss",
    "correct_tokens",
    "cross_entropy",
    "ctc_feasible",
    "ctc_loss",
    "export",
    "from_json",
    "from_keras",
    "from_reference",
    "joint_loss",
    "load_weights",
    "log_probabilities",
    "save_weights",
    "to_json",
    "to_keras",
    "weights_of",
]

_NEEDS_TENSORFLOW = {
    "AcousticModel": "interfaces",
    "DeepSpeech2": "deepspeech2",
    "Encoded": "interfaces",
    "GruCell": "cells",
    "Las": "las",
    "LstmCell": "cells",
    "Recurrent": "recurrent",
    "RnnCell": "cells",
    "Speller": "interfaces",
    "SpellerStep": "bridge",
    "StreamingDeepSpeech2": "streaming",
    "assign_weights": "bridge",
    "average_loss": "losses",
    "correct_tokens": "losses",
    "cross_entropy": "losses",
    "ctc_feasible": "losses",
    "ctc_loss": "losses",
    "export": "bridge",
    "from_keras": "keras_weights",
    "joint_loss": "losses",
    "load_weights": "bridge",
    "log_probabilities": "bridge",
    "save_weights": "bridge",
    "to_keras": "keras_weights",
    "weights_of": "bridge",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TENSORFLOW:
        raise AttributeError(f"module 'asr_models' has no attribute {name!r}")
    return getattr(import_module(f"asr_models.{_NEEDS_TENSORFLOW[name]}"), name)
