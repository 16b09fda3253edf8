"""Normalisers, by the examples of their definitions."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_decoders.score import errors, normalize_spaces
from asr_decoders.text import (
    BASIC,
    ENGLISH,
    KOREAN,
    NORMALIZERS,
    Compose,
    KsponSpeech,
    Punctuation,
    UnicodeForm,
    collapse_spaces,
    jamo,
    lower,
    remove_diacritics,
    remove_spaces,
)

RAW = "b/ 아/ 모+ 몬 소리야 (70%)/(칠 십 퍼센트) 확률이라니 n/"  # the example of AI Hub's rules, as KoSpeech cites it


def test_steps_go_in_the_order_given() -> None:
    assert Compose(lower, lambda text: text + "X")("A") == "aX"
    assert Compose(lambda text: text + "X", lower)("A") == "ax"
    assert Compose()("A  b") == "A  b"
    assert Compose(lower, collapse_spaces) == Compose(lower, collapse_spaces)
    assert hash(Compose(lower)) == hash(Compose(lower))


def test_unicode_forms() -> None:
    assert UnicodeForm()("e\u0301") == "é"
    assert UnicodeForm("NFD")("한") == "\u1112\u1161\u11ab"
    assert UnicodeForm("NFKC")("Ａ①㎏") == "A1kg"


def test_punctuation() -> None:
    assert Punctuation()("“Don’t!” — well-known, 'quoted', boys' $5") == " Don't     well known   quoted   boys   5"
    assert Punctuation(replacement="")("U.S. well-known") == "US wellknown"
    assert Punctuation(apostrophes=False)("don't") == "don t"
    assert Punctuation(keep="-%")("a-b 5% x!") == "a-b 5% x "
    assert Punctuation()("l’eau ʼn") == "l'eau  n"
    assert Punctuation()("안녕하세요? 네。「예」…") == "안녕하세요  네  예  "


def test_spaces() -> None:
    assert collapse_spaces(" a\t b\u3000c\n") == "a b c"
    assert remove_spaces(" 오늘 왜\u3000전화 ") == "오늘왜전화"


def test_diacritics() -> None:
    assert remove_diacritics("Café naïve Ærø Łódź straße Þór") == "Cafe naive AEro Lodz strasse THor"
    assert remove_diacritics("한글 ガ") == "한글 ガ"


def test_basic() -> None:
    assert BASIC("  Don’t STOP—Ｎｏｗ! ") == "don't stop now"


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # what Whisper's own normaliser gives
        ("Mr. Smith won't go; he'd been ill.", "mister smith will not go he had been ill"),
        ("[laughter] Um, I'm gonna (sighs) leave <noise> now", "i am going to leave now"),
        ("She's got the café's 1,000 keys -- 'tis... odd.", "she has got the cafe is 1000 keys tis odd"),
        ("They've y'all's ne'er-do-well, can't've", "they have you all is ne er do well can not have"),
        ("It cost $5.20 or 5 %, not $ nor %.", "it cost $5.20 or 5 not nor"),
        ("Dr. Who's at St. Mary; let's meet: we'll see?", "doctor who is at saint mary let us meet we will see"),
        ("the naïve rôle — ‘quoted’", "the naive role quoted"),
    ],
)
def test_english(text, expected) -> None:
    assert ENGLISH(text) == expected


def test_english_leaves_numbers_and_spellings() -> None:
    assert ENGLISH("Twenty-one colours") == "twenty one colours"


def test_korean() -> None:
    assert KOREAN("  오늘,  왜 전화했어? OK! 3.5 ") == "오늘 왜 전화했어 ok 35"
    assert KOREAN(unicodedata.normalize("NFD", "한국")) == "한국"


def test_letters_of_all_syllables() -> None:
    """By the arithmetic of Unicode's chapter 3.12; NFC reads them back."""
    for code in range(0xAC00, 0xD7A4):
        index = code - 0xAC00
        letters = [0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28]
        expected = "".join(map(chr, letters[: 3 if index % 28 else 2]))
        assert jamo(chr(code)) == expected
        assert unicodedata.normalize("NFC", expected) == chr(code)
    assert jamo("é 한") == "é \u1112\u1161\u11ab"
    assert jamo("\u1112\u1161\u11ab") == jamo("한")


@pytest.mark.parametrize(
    ("text", "spelling", "pronunciation"),
    [
        (RAW, "아 모 몬 소리야 70% 확률이라니", "아 모 몬 소리야 칠 십 퍼센트 확률이라니"),
        ("아/ 그럼 50% 할인이네?", "아 그럼 50% 할인이네?", "아 그럼 50% 할인이네?"),
        ("그게 (웃음) 진짜야", "그게 (웃음) 진짜야", "그게 (웃음) 진짜야"),
        ("진짜 (100%)(백 프로)가", "진짜 100%가", "진짜 백 프로가"),
        ("(3시)/ (세 시)에 만나", "3시에 만나", "세 시에 만나"),
        ("(3시) / (세 시)에 o/만나b/ u/", "3시에 만나", "세 시에 만나"),
        ("*이거# 뭐*야", "이거 뭐야", "이거 뭐야"),
        ("(9/11)/(구 일일) 1/3 2+1 A/S w/o", "9/11 1/3 2+1 A/S w/o", "구 일일 1/3 2+1 A/S w/o"),
        ("그+그거, 아/음/ 네 w1 +w2.", "그 그거, 아 음 네 w1 w2.", "그 그거, 아 음 네 w1 w2."),
        ("", "", ""),
    ],
)
def test_marks_of_ksponspeech(text, spelling, pronunciation) -> None:
    assert KsponSpeech()(text) == spelling
    assert KsponSpeech(form="pronunciation")(text) == pronunciation
    assert KsponSpeech()(spelling) == spelling


def test_words_with_marks_are_kept_or_not() -> None:
    text = "b/ 아/ 모+ 몬 (그)/(거 기)+ 소리야 어/, u/"
    assert KsponSpeech(fillers="remove")(text) == "모 몬 그 소리야"
    assert KsponSpeech(repeats="remove")(text) == "아 몬 소리야 어,"
    assert KsponSpeech(form="pronunciation", fillers="remove", repeats="remove")(text) == "몬 소리야"
    assert KsponSpeech(unknown="[unk]")("뭐u/ 네") == "뭐 [unk] 네"


def test_marks_are_never_cut_short() -> None:
    """Each of 300 sentences of marks gives both forms, and all their words are there."""
    words = ["몬", "소리야", "네,", "A/S", "1/3"]
    for n in range(300):
        word, other = words[n % 5], words[n // 5 % 5]
        slash = ("/", " / ", "/ ", "")[n % 4]
        text = f"{'blno'[n % 4]}/ {word} ({n}시){slash}(열 시)에 아/ {other} 그+ {'*' * (n % 2)}끝"
        assert KsponSpeech()(text) == f"{word} {n}시에 아 {other} 그 끝"
        assert KsponSpeech(form="pronunciation")(text) == f"{word} 열 시에 아 {other} 그 끝"


@pytest.mark.parametrize("text", ["(70%)/(칠 십", "그게 웃음) 뭐", ")("])
def test_parentheses_that_do_not_match_are_refused(text) -> None:
    with pytest.raises(ValueError, match="parentheses that match expected, got"):
        KsponSpeech()(text)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("오늘 왜 전화했어", "오늘왜 전화 했어", "오늘 왜 전화했어"),
        ("나는 학교에 간다", "나는학 교 간다", "나는 학교 간다"),
        ("가나 다", "가 라다마", "가 라 다마"),
        ("가 나", "", ""),
        ("", "가 나", "가 나"),
    ],
)
def test_spaces_follow_the_reference(reference, hypothesis, expected) -> None:
    assert normalize_spaces(reference, hypothesis) == expected


@given(st.text("가나다 ", max_size=12), st.text("가나다 ", max_size=12))
def test_space_normalising_changes_spaces_alone(reference, hypothesis) -> None:
    made = normalize_spaces(reference, hypothesis)
    assert remove_spaces(made) == remove_spaces(hypothesis)
    assert normalize_spaces(reference, remove_spaces(reference)) == collapse_spaces(reference)
    assert normalize_spaces(reference, made) == made


def test_views_of_one_pair_differ() -> None:
    """Why a Korean error rate is nothing without its view."""
    reference, hypothesis = KOREAN("오늘 왜 전화했어?"), KOREAN("오늘왜 전화 했어")
    assert errors(reference, hypothesis, unit="character").rate == pytest.approx(2 / 9)
    assert errors(reference, hypothesis, unit="character", spaces=False).rate == 0
    assert errors(reference, hypothesis).rate == 1
    assert errors(reference, normalize_spaces(reference, hypothesis)).rate == 0
    view = Compose(KOREAN, jamo)
    assert errors(view("세 시에"), view("네 시에"), unit="character").rate == pytest.approx(1 / 7)


@given(st.text("가나\u1112\u1161 aB'’.-…Ａ5%", max_size=30))
def test_the_named_ones_are_projections(text) -> None:
    """A normalised text is not changed again."""
    for name in ("basic", "english", "korean", "ksponspeech", "jamo", "lower", "nfc", "nfkc", "no-punctuation"):
        once = NORMALIZERS[name](text)
        assert NORMALIZERS[name](once) == once, name


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="NFC, NFD, NFKC, NFKD, got 'NFX'"):
        UnicodeForm("NFX")
    with pytest.raises(ValueError, match="spelling, pronunciation, got 'phonetic'"):
        KsponSpeech(form="phonetic")
    with pytest.raises(ValueError, match="fillers must be one of keep, remove, got 'drop'"):
        KsponSpeech(fillers="drop")
    with pytest.raises(ValueError, match="not a list"):
        Compose([lower, collapse_spaces])
