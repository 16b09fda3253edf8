"""Steps for any language: Unicode form, case, punctuation, spaces."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Normalizer = Callable[[str], str]
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

APOSTROPHES = "'’ʼ＇"
# Letters that no Unicode form decomposes, as most languages without them write them.
LETTERS = str.maketrans(
    {
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "ð": "d",
        "Ð": "D",
        "þ": "th",
        "Þ": "TH",
        "ß": "ss",
        "ẞ": "SS",
    }
)


@dataclass(frozen=True, init=False)
class Compose:
    """One normaliser after the other, in the order given; none at all changes nothing."""

    steps: tuple[Normalizer, ...]

    def __init__(self, *steps: Normalizer) -> None:
        for step in steps:
            if not callable(step):
                raise ValueError(f"functions from text to text expected, got {step!r}: Compose(a, b), not a list")
        object.__setattr__(self, "steps", steps)

    def __call__(self, text: str) -> str:
        for step in self.steps:
            text = step(text)
        return text


@dataclass(frozen=True)
class UnicodeForm:
    """One of the forms of Unicode's annex 15.

    NFC joins letters and their marks, and Korean letters to syllables; NFD takes them apart. The forms with a K also
    make wide, narrow, small and circled variants the plain letter.
    """

    form: Form = "NFC"

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"the form must be one of {', '.join(get_args(Form))}, got {self.form!r}")

    def __call__(self, text: str) -> str:
        return unicodedata.normalize(self.form, text)


@dataclass(frozen=True, kw_only=True)
class Punctuation:
    """Replaces punctuation and symbols: Unicode's categories P and S.

    replacement: a space makes words of "well-known", an empty string one word.
    apostrophes: keep them between letters or digits, all written as ', as in "don't" and "l’eau".
    keep: characters that stay.
    """

    replacement: str = " "
    apostrophes: bool = True
    keep: str = ""

    def __call__(self, text: str) -> str:
        return "".join(self._made(text, n) if _is_mark(c) else c for n, c in enumerate(text))

    def _made(self, text: str, n: int) -> str:
        if self.apostrophes and text[n] in APOSTROPHES and 0 < n < len(text) - 1:
            around = text[n - 1], text[n + 1]
            if all(c.isalnum() or unicodedata.category(c)[0] == "M" for c in around):
                return "'"
        return text[n] if text[n] in self.keep else self.replacement


def _is_mark(character: str) -> bool:
    # The letter ʼ is of category L, and written for an apostrophe.
    return character in APOSTROPHES or unicodedata.category(character)[0] in "PS"


def lower(text: str) -> str:
    """Small letters."""
    return text.lower()


def collapse_spaces(text: str) -> str:
    """Runs of white space become one space; none are left at the ends."""
    return " ".join(text.split())


def remove_spaces(text: str) -> str:
    """No white space: the view of Korean in which spacing does not count."""
    return "".join(text.split())


def remove_diacritics(text: str) -> str:
    """Letters without their marks, in NFKC: é becomes e, æ ae, ß ss; Hangul and kana stay as they are."""
    plain = "".join(_base(character) for character in unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFKC", plain.translate(LETTERS))


def _base(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character)
    if unicodedata.name(character, "").startswith(("HIRAGANA", "KATAKANA")):
        return character
    return "".join(part for part in decomposed if unicodedata.category(part) != "Mn")


# Case, punctuation and compatible forms do not count.
BASIC = Compose(UnicodeForm("NFKC"), lower, Punctuation(), collapse_spaces)
