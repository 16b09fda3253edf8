"""From log-probabilities to text and scores; see the README for a tour and `interfaces.py` for the shapes."""

from asr_decoders.align import ctc_align, ctc_score
from asr_decoders.attention import AttentionBeam, AttentionGreedy
from asr_decoders.ctc import CtcBeam, CtcGreedy
from asr_decoders.interfaces import Decoder, Hypothesis, LanguageModel, Step
from asr_decoders.nest import repeat
from asr_decoders.score import Errors, errors
from asr_decoders.vocabulary import Vocabulary

__version__ = "0.1.0"

# `asr_decoders.align` is the module of CTC alignments; that of two texts is
# `asr_decoders.score.align`.
__all__ = [
    "AttentionBeam",
    "AttentionGreedy",
    "CtcBeam",
    "CtcGreedy",
    "Decoder",
    "Errors",
    "Hypothesis",
    "LanguageModel",
    "Step",
    "Vocabulary",
    "ctc_align",
    "ctc_score",
    "errors",
    "repeat",
]
