"""From log-probabilities to text and scores; see the README for a tour and `interfaces.py` for the shapes.

Each name is loaded when it is first asked for: who scores texts does not wait for the searches.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_decoders.align import ctc_align, ctc_score
    from asr_decoders.attention import AttentionBeam, AttentionGreedy
    from asr_decoders.ctc import CtcBeam, CtcGreedy
    from asr_decoders.ensemble import Scorer
    from asr_decoders.hotwords import Hotwords
    from asr_decoders.interfaces import Decoder, Hypothesis, LanguageModel, LogProbs, Step, Word
    from asr_decoders.joint import CtcPrefix, rescore
    from asr_decoders.nest import repeat
    from asr_decoders.ngram import NGram, estimate
    from asr_decoders.score import Errors, errors
    from asr_decoders.tuning import Tuning, tune
    from asr_decoders.vocabulary import Vocabulary

__version__ = "0.2.0"

# `asr_decoders.align` is the module of CTC alignments; that of two texts is `asr_decoders.score.align`.
__all__ = [
    "AttentionBeam",
    "AttentionGreedy",
    "CtcBeam",
    "CtcGreedy",
    "CtcPrefix",
    "Decoder",
    "Errors",
    "Hotwords",
    "Hypothesis",
    "LanguageModel",
    "LogProbs",
    "NGram",
    "Scorer",
    "Step",
    "Tuning",
    "Vocabulary",
    "Word",
    "__version__",
    "ctc_align",
    "ctc_score",
    "errors",
    "estimate",
    "repeat",
    "rescore",
    "tune",
]

_HOMES = {
    "align": (
        "ctc_align",
        "ctc_score",
    ),
    "attention": (
        "AttentionBeam",
        "AttentionGreedy",
    ),
    "ctc": (
        "CtcBeam",
        "CtcGreedy",
    ),
    "ensemble": ("Scorer",),
    "hotwords": ("Hotwords",),
    "interfaces": (
        "Decoder",
        "Hypothesis",
        "LanguageModel",
        "LogProbs",
        "Step",
        "Word",
    ),
    "joint": ("CtcPrefix", "rescore"),
    "nest": ("repeat",),
    "ngram": (
        "NGram",
        "estimate",
    ),
    "score": (
        "Errors",
        "errors",
    ),
    "tuning": (
        "Tuning",
        "tune",
    ),
    "vocabulary": ("Vocabulary",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'asr_decoders' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"asr_decoders.{_HOME[name]}"), name)
    globals()[name] = value  # asked for once
    return value
