"""Korean: syllables and letters, and the marks of the KsponSpeech transcripts.

The views in which Korean is scored, of one reference and hypothesis:

| view | how |
|---|---|
| characters (syllables) with spaces | `KOREAN`, unit "character" |
| characters without spaces | the same with spaces=False |
| words | `KOREAN`, unit "word" |
| space-normalised words | `KOREAN`, then `asr_decoders.score.normalize_spaces`, unit "word" |
| letters | `Compose(KOREAN, jamo)`, unit "character" |
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from asr_decoders.text.basic import Compose, Punctuation, UnicodeForm, collapse_spaces, lower

Written = Literal["spelling", "pronunciation"]
Kept = Literal["keep", "remove"]

# Punctuation is deleted, so that "3.5" is one word; case does not count.
KOREAN = Compose(lower, Punctuation(replacement=""), UnicodeForm("NFC"), collapse_spaces)

DUAL = re.compile(r"\(([^()]*)\)(?:\s*/\s*)?\(([^()]*)\)")
NOISE = re.compile(r"(?<![A-Za-z])[blno]/(?![A-Za-z])")
UNKNOWN = re.compile(r"(?<![A-Za-z])u/(?![A-Za-z])")
LATE = re.compile(r"\s+\+(?=\S)")  # "a +b", meant as "a+ b"
GLUED = re.compile(r"(?<=[가-힣])([+/])(?=[^\s+/*,.?!])")
MARKED = re.compile(r"(.*?)([+/]+)([,.?!]*)")
HELD = "\x00"  # a space within one of two written forms: it divides no token


def jamo(text: str) -> str:
    """The letters of Korean syllables, as conjoining jamo: 한 becomes ᄒ, ᅡ and ᆫ.

    This is Unicode's NFD of the syllables, and NFC brings them back; other text is in NFC. An initial consonant and
    the same one at the end are different characters here. Compatibility jamo (ㅎㅏㄴ) would make them one, but what
    they spell cannot always be read back.
    """
    joined = unicodedata.normalize("NFC", text)
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in joined)


@dataclass(frozen=True, kw_only=True)
class KsponSpeech:
    """Resolves the marks of KsponSpeech transcripts (AI Hub's transcription rules 1.0; Bang et al. 2020).

    | mark | meaning | here |
    |---|---|---|
    | `(70%)/(칠 십 퍼센트)` | spelling and pronunciation | the `form` that is asked for |
    | `b/` `l/` `o/` `n/` | breath, laughter, overlap, noise | removed |
    | `u/` | a word that nobody understands | `unknown` |
    | `아/` | a filler | the word stays or goes with `fillers` |
    | `그+` | a word that is begun again | the word stays or goes with `repeats` |
    | `*` `#` | unclear | the mark is removed |

    The slash between two forms may be missing or have spaces around it: the corpus has all of them. A parenthesis
    that has no second one beside it is text. Punctuation stays.

    form: "spelling" or "pronunciation".
    fillers, repeats: "keep" or "remove" the words so marked; the marks always go.
    unknown: what is written for a word that nobody understands, say "[unk]".

    Raises ValueError for other options, and for parentheses that do not match, since no reading would be sure.
    """

    form: Written = "spelling"
    fillers: Kept = "keep"
    repeats: Kept = "keep"
    unknown: str = ""

    def __post_init__(self) -> None:
        if self.form not in get_args(Written):
            raise ValueError(f"form must be one of {', '.join(get_args(Written))}, got {self.form!r}")
        for name, value in (("fillers", self.fillers), ("repeats", self.repeats)):
            if value not in get_args(Kept):
                raise ValueError(f"{name} must be one of {', '.join(get_args(Kept))}, got {value!r}")

    def __call__(self, text: str) -> str:
        resolved = DUAL.sub(self._chosen, text.replace("*", "").replace("#", ""))
        depth = re.sub(r"\([^()]*\)", "", resolved)
        if "(" in depth or ")" in depth:
            raise ValueError(f"parentheses that match expected, got {text!r}")
        resolved = UNKNOWN.sub(f" {self.unknown} ", NOISE.sub(" ", resolved))
        resolved = GLUED.sub(r"\1 ", LATE.sub("+ ", resolved))
        kept = [self._token(token) for token in resolved.split()]
        return " ".join(" ".join(kept).replace(HELD, " ").split())

    def _chosen(self, found: re.Match[str]) -> str:
        """One of two forms, as one token with what is written to it."""
        return HELD.join(found[1 if self.form == "spelling" else 2].split())

    def _token(self, token: str) -> str:
        found = MARKED.fullmatch(token)
        if not found:
            return token
        word, marks, punctuation = found.groups()
        if ("/" in marks and self.fillers == "remove") or ("+" in marks and self.repeats == "remove"):
            return ""
        return word + punctuation
