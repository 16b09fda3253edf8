"""Normalisers: functions from text to text, composed by order, so that only what matters counts as an error.

    normalize = Compose(UnicodeForm("NFKC"), lower, Punctuation(), collapse_spaces)
    errors(normalize(reference), normalize(hypothesis))

Reference and hypothesis are to go through the same one. Rates of different normalisers are not comparable: say which
one was used.
"""

from asr_decoders.text.basic import (
    BASIC,
    Compose,
    Normalizer,
    Punctuation,
    UnicodeForm,
    collapse_spaces,
    lower,
    remove_diacritics,
    remove_spaces,
)
from asr_decoders.text.english import ENGLISH, expand_contractions, remove_bracketed, remove_fillers
from asr_decoders.text.korean import KOREAN, KsponSpeech, jamo

# The names that the score command knows.
NORMALIZERS: dict[str, Normalizer] = {
    "basic": BASIC,
    "english": ENGLISH,
    "korean": KOREAN,
    "ksponspeech": KsponSpeech(),
    "ksponspeech-pronunciation": KsponSpeech(form="pronunciation"),
    "jamo": jamo,
    "lower": lower,
    "nfc": UnicodeForm("NFC"),
    "nfkc": UnicodeForm("NFKC"),
    "no-punctuation": Punctuation(),
}

__all__ = [
    "BASIC",
    "ENGLISH",
    "KOREAN",
    "NORMALIZERS",
    "Compose",
    "KsponSpeech",
    "Normalizer",
    "Punctuation",
    "UnicodeForm",
    "collapse_spaces",
    "expand_contractions",
    "jamo",
    "lower",
    "remove_bracketed",
    "remove_diacritics",
    "remove_fillers",
    "remove_spaces",
]
