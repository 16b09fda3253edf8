"""Language models in the CTC search: what they are for, what is refused. test_exact.py has the scores."""

import math

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary
from asr_decoders.native import loader
from asr_decoders.ngram import estimate
from asr_decoders.testing import check_decoder, random_posteriors

BACKENDS = ["numpy", *(["native"] if loader.available() else [])]
VOCABULARY = Vocabulary(("", " ", *"abcdefgh"), special=(0,))
SENTENCES = ["a bad cab", "he had a bag", "a hedge", "bad bee", "he fed a bee", "cab had bag"] * 3
LM = estimate(SENTENCES, order=2, discount_fallback=(0.5, 1.0, 1.5))


class Uniform:
    """A language model over ids, some of which it takes for impossible."""

    def __init__(self, impossible=(), log_prob=-1.0, end=-1.0):
        self.impossible, self.log_prob, self.end = impossible, log_prob, end

    def start(self):
        return None

    def step(self, state, token):
        return None, -math.inf if token in self.impossible else self.log_prob

    def finish(self, state):
        return self.end


def spelt(text, extra=0.0):
    """Log-probabilities of a text, spoken clearly but for `extra` of the mass in each frame."""
    tokens = [0] + [token for character in text for token in (VOCABULARY.id(character), 0)]
    p = np.full((len(tokens), len(VOCABULARY)), extra / (len(VOCABULARY) - 1))
    p[np.arange(len(tokens)), tokens] = 1 - extra
    with np.errstate(divide="ignore"):
        return np.log(p)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_language_model_corrects_words(backend) -> None:
    decode = CtcBeam(vocabulary=VOCABULARY, lm=LM, backend=backend)
    log_probs = spelt("he had a beg", 0.1)
    assert decode(log_probs)[0].text == "he had a bag"
    assert CtcBeam(vocabulary=VOCABULARY, backend=backend)(log_probs)[0].text == "he had a beg"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_parts_of_a_score(backend) -> None:
    decode = CtcBeam(
        vocabulary=VOCABULARY, lm=LM, lm_weight=2.0, word_bonus=0.5, unknown_log_prob=-3.0, n_best=8, backend=backend
    )
    for h in decode(spelt("he had a geg", 0.02)):
        words = h.text.split()
        unknown = sum(word not in LM.vocabulary for word in words)
        assert h.language == pytest.approx(2.0 * LM.score(words), abs=1e-9)
        assert h.bonus == pytest.approx(0.5 * len(words) - 3.0 * unknown, abs=1e-9)
        assert h.score == h.acoustic + h.language + h.bonus


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_of_hotwords_are_known(backend) -> None:
    decode = CtcBeam(vocabulary=VOCABULARY, lm=LM, hotwords={"geg": 0.0}, backend=backend, beam_size=100)
    best = decode(spelt("he had a geg"))[0]
    assert (best.text, best.bonus) == ("he had a geg", 0.0)
    assert best.language == pytest.approx(0.5 * LM.score(["he", "had", "a", "<unk>"]), abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"lm": LM, "vocabulary": VOCABULARY},
        {"lm": Uniform(), "lm_level": "token"},
        {"lm": LM, "vocabulary": VOCABULARY, "lm_weight": 0.0},
    ],
)
def test_keeps_the_promises_of_a_decoder(options) -> None:
    check_decoder(CtcBeam(beam_size=4, n_best=4, **options), vocab_size=len(VOCABULARY))


def test_a_model_of_ones_own_makes_tokens_impossible() -> None:
    log_probs = spelt("bad", 0.1)
    decode = CtcBeam(lm=Uniform(impossible=[VOCABULARY.id("a")]), lm_level="token", n_best=16)
    found = decode(log_probs)
    assert found and all(VOCABULARY.id("a") not in h.tokens for h in found)
    assert all(h.language == pytest.approx(-0.5 * (len(h.tokens) + 1)) for h in found)


@pytest.mark.parametrize(
    ("lm", "log_probs"), [(Uniform(range(10)), spelt("a")), (Uniform(end=-math.inf), spelt("a", 0.1))]
)
def test_a_model_that_makes_everything_impossible_is_named(lm, log_probs) -> None:
    with pytest.raises(ValueError, match="language model gives -inf to all of them"):
        CtcBeam(lm=lm, lm_level="token", lm_weight=1.0, beam_size=2)(log_probs)


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_what_is_no_log_probability_is_refused(value) -> None:
    with pytest.raises(ValueError, match=f"log-probability expected of the language model .* got {value}"):
        CtcBeam(lm=Uniform(log_prob=value), lm_level="token")(spelt("a"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lm": LM}, "an n-gram model needs a vocabulary"),
        ({"lm": Uniform()}, 'Uniform is a language model over token ids: it needs lm_level="token"'),
        ({"lm": LM, "vocabulary": Vocabulary(("", "a"), boundary="none")}, "needs word boundaries"),
        ({"lm": LM, "vocabulary": Vocabulary(("", "a b"))}, "needs pieces of one word, got 'a b'"),
        ({"lm": LM, "vocabulary": Vocabulary(("", "a "))}, "needs pieces of one word, got 'a '"),
        ({"lm": Uniform(), "lm_level": "token", "backend": "native"}, 'backend "native"'),
    ],
)
def test_what_cannot_be_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        CtcBeam(**options)(np.zeros((0, 10)))


def test_a_model_of_pieces_names_the_space() -> None:
    for name in ("|", "<space>", "\u2581"):
        lm = estimate([["b", "a", name, "b"], ["a", name, "a"]] * 4, order=2, discount_fallback=(0.5, 1.0, 1.5))
        decode = CtcBeam(vocabulary=VOCABULARY, lm=lm, lm_level="token", lm_weight=1.0, unknown_log_prob=-50.0)
        best = decode(spelt("ba a"))[0]
        assert (best.text, best.bonus) == ("ba a", 0.0)
        assert best.language == pytest.approx(lm.score(["b", "a", name, "a"]), abs=1e-9)


def test_a_model_is_asked_for_little() -> None:
    asked = []

    class Counting(Uniform):
        def step(self, state, token):
            asked.append(token)
            return super().step(state, token)

    rng = np.random.default_rng(0)
    log_probs = random_posteriors(rng.integers(1, 500, 40).tolist(), 200, 500, rng)
    CtcBeam(lm=Counting(), lm_level="token", beam_size=10)(log_probs)
    assert len(asked) < 200 * 10 * 4  # of 200 * 10 * 499 that the beam could ask for
