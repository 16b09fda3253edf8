"""Hotwords: the automaton against the rule applied to whole texts, what is counted, and what they are for."""

import math

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary
from asr_decoders.hotwords import HotwordContext, Hotwords
from asr_decoders.native import loader
from asr_decoders.ngram import estimate
from asr_decoders.score import Errors, errors
from asr_decoders.testing import hotword_weights, random_posteriors

BACKENDS = ["numpy", *(["native"] if loader.available() else [])]
LETTERS = " abcdefghijklmnopqrstuvwxyz"
CHARACTERS = Vocabulary(("", *LETTERS), special=(0,))
VOCABULARIES = {
    "space": Vocabulary(("", " ", "a", "b", "c", "ab", " a", "b ", "<s>"), special=(0, 8)),
    "sentencepiece": Vocabulary(
        ("", "\u2581", "a", "b", "c", "\u2581ab", "a\u2581b", "<0x61>", "\u2581\u2581c"),
        boundary="sentencepiece",
        special=(0,),
    ),
    "none": Vocabulary(("", " ", "a", "b", "c", "ab", "bc"), boundary="none", special=(0,)),
}


def ids(vocabulary, *pieces):
    return tuple(vocabulary.id(piece) for piece in pieces)


def bonus(phrases, text, *, final=True, vocabulary=CHARACTERS):
    """Of a text, one character after the other, by the context of the search."""
    context = HotwordContext(vocabulary, Hotwords(phrases))
    states, total = context.start(), 0.0
    for character in text:
        states, _, weight, _ = context.step(states, np.zeros(1, dtype=np.intp), np.array([vocabulary.id(character)]))
        total += weight.item()
    return total + (context.finish(states)[1].item() if final else 0.0)


@pytest.mark.parametrize("boundary", VOCABULARIES)
@pytest.mark.parametrize("seed", range(25))
def test_the_automaton_is_the_rule(boundary, seed) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = VOCABULARIES[boundary]
    phrases = {}
    for _ in range(rng.integers(1, 6)):
        words = [
            "".join(rng.choice(list("abc"[: 2 + seed % 2]), rng.integers(1, 4))) for _ in range(rng.integers(1, 4))
        ]
        phrases[(" " if boundary != "none" or rng.random() < 0.2 else "").join(words)] = round(
            float(rng.normal(2, 3)), 2
        )
    context, rule = HotwordContext(vocabulary, Hotwords(phrases)), hotword_weights(vocabulary, phrases)
    prefixes, states, totals = [()] * 20, np.repeat(context.start(), 20), np.zeros(20)
    for _ in range(14):
        tokens = rng.integers(0, len(vocabulary), 20)
        states, language, weights, lookahead = context.step(states, np.arange(20), tokens)
        assert not language.any() and not lookahead.any()
        assert (weights <= context.bound[tokens] + 1e-9).all()
        totals += weights
        ends = context.finish(states)[1]
        prefixes = [(*prefix, token) for prefix, token in zip(prefixes, tokens.tolist(), strict=True)]
        for prefix, total, end in zip(prefixes, totals, ends, strict=True):
            assert total == pytest.approx(rule(prefix, False)[1], abs=1e-9)
            assert total + end == pytest.approx(rule(prefix, True)[1], abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("york", 4),
        (" york  ", 4),
        ("new york", 6),  # not york, too
        ("new york city", 9),
        ("new york cit", 6),
        ("new new york", 6),
        ("yorkshire", 0),  # a part of a word
        ("new yorker", 0),
        ("old york city hall", 7),  # york alone would count less, but is not the longest
        ("new york city hall", 9),  # the first has the words of the second
        ("york york york", 12),
        ("newyork", 0),
        ("", 0),
    ],
)
def test_longest_phrases_count_from_left_to_right(text, expected) -> None:
    phrases = {"york": 4, "new york": 6, "new york city": 9, "york city hall": 7, "shire": 50}
    assert bonus(phrases, text) == pytest.approx(expected)


def test_shares_are_granted_and_taken_back() -> None:
    phrases = {"abcd": 8.0, "ab": 3.0}
    assert [bonus(phrases, "abcd"[:n], final=False) for n in range(5)] == pytest.approx([0, 2, 4, 6, 8])
    assert bonus(phrases, "abc") == pytest.approx(0)
    assert bonus(phrases, "abx", final=False) == pytest.approx(0)
    assert bonus(phrases, "ab ", final=False) == pytest.approx(3)
    assert bonus({"a b": -4.0, "a": 1.0}, "a b") == pytest.approx(-4)
    assert bonus({"a b": 6.0, "a": 5.0}, "a ", final=False) == pytest.approx(
        5
    )  # a is whole, a third of a b is not more


def test_how_tokens_spell_a_phrase_does_not_matter() -> None:
    vocabulary = VOCABULARIES["sentencepiece"]
    weigh = hotword_weights(vocabulary, {"ab": 5.0})
    for pieces in (("\u2581ab",), ("\u2581", "a", "b"), ("a", "b"), ("\u2581", "<0x61>", "b", "\u2581")):
        tokens = ids(vocabulary, *pieces)
        log_probs = np.full((len(tokens) + 1, len(vocabulary)), -20.0)
        log_probs[np.arange(len(tokens)), tokens] = -0.1
        log_probs[-1, 0] = -0.1
        best = CtcBeam(vocabulary=vocabulary, hotwords={"ab": 5.0})(log_probs)[0]
        assert (best.tokens, best.bonus) == (tokens, pytest.approx(5.0))
        assert weigh(tokens, True)[1] == pytest.approx(5.0)


def test_hangul_in_bytes() -> None:
    vocabulary = Vocabulary(
        ("", "\u2581", "\uac00", "<0xEA>", "<0xB0>", "<0x80>"), boundary="sentencepiece", special=(0,)
    )
    context = HotwordContext(vocabulary, Hotwords({"\uac00": 6.0}))
    states, total = context.start(), []
    for token in (3, 4, 5, 1):
        states, _, weight, _ = context.step(states, np.zeros(1, dtype=np.intp), np.array([token]))
        total.append(weight.item())
    assert total == pytest.approx([2, 2, 2, 0])


def test_unspellable_phrases_are_named() -> None:
    with pytest.warns(UserWarning, match=r"2 hotword phrases cannot be spelt with this vocabulary: 'Abc', 'a-b'$"):
        decode = CtcBeam(vocabulary=CHARACTERS, hotwords={"abc": 1.0, "Abc": 1.0, "a-b": 1.0})
    assert decode(np.zeros((0, 28)))[0].tokens == ()
    with pytest.warns(UserWarning, match="'a c'"):  # there is no c without a boundary before
        CtcBeam(vocabulary=Vocabulary(("", "a", "\u2581c"), boundary="none"), hotwords={"a c": 1.0})


@pytest.mark.parametrize(
    ("hotwords", "message"),
    [
        ({"": 1.0}, "single spaces between, got ''"),
        ({"a  b": 1.0}, "single spaces between, got 'a  b'"),
        ({" a": 1.0}, "single spaces between, got ' a'"),
        ({3: 1.0}, "single spaces between, got 3"),
        ({"a": math.nan}, "-100 to 100 nats, got nan for 'a'"),
        ({"a": 101}, "-100 to 100 nats, got 101 for 'a'"),
        ({"a": "5"}, "-100 to 100 nats, got '5' for 'a'"),
        (["a"], "mapping of phrases to weights"),
        ("abc", "mapping of phrases to weights"),
    ],
)
def test_wrong_hotwords_are_refused(hotwords, message) -> None:
    with pytest.raises(ValueError, match=message):
        CtcBeam(vocabulary=CHARACTERS, hotwords=hotwords)


def test_hotwords_need_a_vocabulary_and_are_a_value() -> None:
    with pytest.raises(ValueError, match="hotwords are text and need a vocabulary"):
        CtcBeam(hotwords={"a": 1.0})
    one, other = (CtcBeam(vocabulary=CHARACTERS, hotwords=words) for words in ({"a": 1}, Hotwords({"a": 1.0})))
    assert one == other and hash(one) == hash(other)
    assert CtcBeam(vocabulary=CHARACTERS, hotwords={}) == CtcBeam(vocabulary=CHARACTERS, hotwords=Hotwords({}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_boosted_names_are_heard_and_nothing_else_suffers(backend) -> None:
    rng = np.random.default_rng(0)
    common = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 6))) for _ in range(60)]
    names = ["".join(rng.choice(list("klmnopqrst"), 6)) for _ in range(12)]
    sentences = [" ".join(rng.choice(common, 6)) for _ in range(400)]
    lm = estimate(sentences, order=2, discount_fallback=(0.5, 1.0, 1.5))
    texts = [text.split() for text in sentences[:24]]
    for i, words in enumerate(texts[:12]):
        words[3] = names[i]
    options = {"vocabulary": CHARACTERS, "lm": lm, "beam_size": 16, "backend": backend, "word_bonus": 1.0}
    decoders = [CtcBeam(**options), CtcBeam(**options, hotwords=dict.fromkeys(names, 10.0))]
    recalled, wrong = [0, 0], [Errors(), Errors()]
    for words in texts:
        tokens = [CHARACTERS.id(character) for character in " ".join(words)]
        log_probs = random_posteriors(tokens, 4 * len(tokens), len(CHARACTERS), rng)
        for i, decode in enumerate(decoders):
            heard = decode(log_probs)[0].text
            recalled[i] += len(set(names) & set(words) & set(heard.split()))
            rest = [" ".join(w for w in text.split() if w not in names) for text in (" ".join(words), heard)]
            wrong[i] += errors(*rest) if words[3] not in names else Errors()
    assert recalled[1] - recalled[0] >= 6 and recalled[1] >= 11
    assert wrong[1].rate <= wrong[0].rate + 0.001
