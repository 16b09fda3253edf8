"""Train, evaluate and use speech recognisers: the place where features, models and decoders meet."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.4.3"

if TYPE_CHECKING:
    from asr_train.config import RunConfig
    from asr_train.config_file import read_config
    from asr_train.errors import UserError
    from asr_train.evaluation import Evaluation, evaluate
    from asr_train.manifest import Utterance, read_manifest, write_manifest
    from asr_train.model_dir import load
    from asr_train.recognizer import Recognizer, Transcript
    from asr_train.tokenizer import Tokenizer

__all__ = [
    "Evaluation",
    "Recognizer",
    "RunConfig",
    "Tokenizer",
    "Transcript",
    "UserError",
    "Utterance",
    "__version__",
    "evaluate",
    "load",
    "read_config",
    "read_manifest",
    "write_manifest",
]

# Loaded when first asked for: the command line answers --help without any of them, and most errors without TensorFlow.
_HOMES = {
    "Evaluation": "evaluation",
    "Recognizer": "recognizer",
    "RunConfig": "config",
    "Tokenizer": "tokenizer",
    "Transcript": "recognizer",
    "UserError": "errors",
    "Utterance": "manifest",
    "evaluate": "evaluation",
    "load": "model_dir",
    "read_config": "config_file",
    "read_manifest": "manifest",
    "write_manifest": "manifest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr_train' has no attribute {name!r}")
    return getattr(import_module(f"asr_train.{_HOMES[name]}"), name)
