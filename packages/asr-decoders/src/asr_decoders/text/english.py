"""English as the normaliser of Whisper has it (Radford et al. 2023, appendix C), without its numbers and spellings.

`ENGLISH` gives what Whisper's does on text without digits, number words ("oh" and "o" are such for it) and British
spellings: those steps rewrite words by long lists, which are not repeated here. It also removes a sign that stands
alone at an end of the text, which Whisper's leaves there. Rates published with Whisper's normaliser need that one; to
compare two systems, this will do.
"""

import re

from asr_decoders.text.basic import Compose, Punctuation, collapse_spaces, lower, remove_diacritics

FILLERS = re.compile(r"\b(?:hmm|mm|mhm|mmm|uh|um)\b")

# Whole words, then endings, each tried in this order; the longer ending is before the shorter.
WORDS = {
    "won't": "will not",
    "can't": "can not",
    "let's": "let us",
    "ain't": "aint",
    "y'all": "you all",
    "wanna": "want to",
    "gotta": "got to",
    "gonna": "going to",
    "i'ma": "i am going to",
    "imma": "i am going to",
    "woulda": "would have",
    "coulda": "could have",
    "shoulda": "should have",
    "ma'am": "madam",
    "mr": "mister",
    "mrs": "missus",
    "st": "saint",
    "dr": "doctor",
    "prof": "professor",
    "capt": "captain",
    "gov": "governor",
    "ald": "alderman",
    "gen": "general",
    "sen": "senator",
    "rep": "representative",
    "pres": "president",
    "rev": "reverend",
    "hon": "honorable",
    "asst": "assistant",
    "assoc": "associate",
    "lt": "lieutenant",
    "col": "colonel",
    "jr": "junior",
    "sr": "senior",
    "esq": "esquire",
}
ENDINGS = {
    "'d been": " had been",
    "'s been": " has been",
    "'d gone": " had gone",
    "'s gone": " has gone",
    "'d done": " had done",
    "'s got": " has got",
    "n't": " not",
    "'re": " are",
    "'s": " is",  # the possessive too
    "'d": " would",
    "'ll": " will",
    "'t": " not",
    "'ve": " have",
    "'m": " am",
}
WORD = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(WORDS, key=len, reverse=True)))})\b")
ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})\b")


def remove_bracketed(text: str) -> str:
    """Without what stands in <>, [] or (): sounds and remarks, as "[laughter]"."""
    return re.sub(r"\(([^)]+?)\)", "", re.sub(r"[<\[][^>\]]*[>\]]", "", text))


def remove_fillers(text: str) -> str:
    """Without hmm, mm, mhm, mmm, uh and um; of small letters."""
    return FILLERS.sub("", text)


def expand_contractions(text: str) -> str:
    """ "don't" becomes "do not", "she's been" "she has been", "dr" "doctor"; of small letters, with straight '."""
    text = re.sub(r"\s+'", "'", text)
    text = WORD.sub(lambda found: WORDS[found[0]], text)
    return ENDING.sub(lambda found: ENDINGS[found[0]], text)


def _points(text: str) -> str:
    """Without commas within numbers, and without full stops that are not followed by a digit."""
    return re.sub(r"\.(?!\d)", " ", re.sub(r"(?<=\d),(?=\d)", "", text))


def _signs(text: str) -> str:
    """Without $ and the like unless a digit follows, without % unless one is before."""
    return re.sub(r"(?<!\d)%", " ", re.sub(r"[.$¢€£](?!\d)", " ", text))


ENGLISH = Compose(
    lower,
    remove_bracketed,
    remove_fillers,
    expand_contractions,
    _points,
    remove_diacritics,
    Punctuation(apostrophes=False, keep=".%$¢€£"),
    _signs,
    collapse_spaces,
)
