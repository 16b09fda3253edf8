"""Word and character errors, as counts that add up, and the alignment of two sequences.

Three steps: `align` two sequences, count the `errors` of one utterance (`corpus_errors`: of many, which is quicker),
add the counts of a corpus. Rates are read last: the rate of a corpus is the sum of errors over the sum of reference
units, not the average of the utterances' rates. How sure a rate is says `confidence`, whether a second system is
better `compare`; `read_pairs` reads what was said and what was recognised from files, and `python -m
asr_decoders.score` does all of it. Texts are compared as they are; `asr_decoders.text` brings them into one form.
"""

from asr_decoders.score.alignment import Edit, Weights, align
from asr_decoders.score.bootstrap import Comparison, Confidence, compare, confidence
from asr_decoders.score.confusion import Confusions, confusions
from asr_decoders.score.counts import Errors, Unit, corpus_errors, errors, units
from asr_decoders.score.files import Format, Pair, read_pairs
from asr_decoders.score.rows import show
from asr_decoders.score.spaces import normalize_spaces
from asr_decoders.score.table import Operation

__all__ = [
    "Comparison",
    "Confidence",
    "Confusions",
    "Edit",
    "Errors",
    "Format",
    "Operation",
    "Pair",
    "Unit",
    "Weights",
    "align",
    "compare",
    "confidence",
    "confusions",
    "corpus_errors",
    "errors",
    "normalize_spaces",
    "read_pairs",
    "show",
    "units",
]
