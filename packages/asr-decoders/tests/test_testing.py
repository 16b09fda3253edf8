"""The checks for decoders and language models find what they are for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from asr_decoders import CtcBeam, CtcGreedy, Hypothesis, Vocabulary
from asr_decoders.score import align
from asr_decoders.testing import (
    check_decoder,
    check_language_model,
    every_labelling,
    every_sequence,
    full_expansion,
    hotword_weights,
    model_weights,
    random_posteriors,
    table_step,
    token_weights,
    word_weights,
)


def test_every_labelling_by_hand() -> None:
    log_probs = np.log([[0.6, 0.4], [0.7, 0.3]])
    expected = {(): 0.42, (1,): 0.58}
    assert {t: math.exp(s) for t, s in every_labelling(log_probs).items()} == pytest.approx(expected)


def test_every_sequence_by_hand() -> None:
    table = np.log([[1, 1, 1], [0.5, 0.1, 0.4], [0.3, 0.1, 0.6]])
    found = every_sequence(table_step(table), (), begin=1, end=0, max_length=2)
    assert {t: math.exp(s) for t, s in found.items()} == pytest.approx({(): 0.5, (2,): 0.12, (2, 2): 0.072})


def test_the_textbook_beam_is_brute_force_when_wide() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 2, (5, 3))
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found = {h.tokens: h.score for h in full_expansion(log_probs, beam_size=1000, blank=2)}
        assert found == pytest.approx(every_labelling(log_probs, blank=2))


class Unigrams:
    """ln p of a word is -1, of others -3, of an end -0.5, after a beginning -0.25 more."""

    vocabulary = ("<unk>", "ab", "b")

    def score(self, words, /, *, bos=True, eos=True):
        return sum(-1.0 if word in self.vocabulary else -3.0 for word in words) - 0.25 * bos - 0.5 * eos


def test_weights_by_hand() -> None:
    vocabulary = Vocabulary(("", " ", "a", "b"), special=(0,))
    options = {"lm_weight": 2.0, "word_bonus": 0.1, "unknown_log_prob": -6.0}
    words = word_weights(vocabulary, Unigrams(), **options)
    assert words((2, 3, 1, 3, 3), False) == pytest.approx((2 * (-1 - 0.25), 0.1, -6.0))  # "ab", and no word is bb...
    assert words((2, 3, 1, 3, 3), True) == pytest.approx((2 * (-1 - 3 - 0.25 - 0.5), 0.2 - 6.0, 0.0))
    assert words((1, 3, 1), False) == pytest.approx((2 * (-1 - 0.25), 0.1, 0.0))
    assert words((3,) * 12, False)[2] == pytest.approx(-12.0)  # twice as long as 6 characters
    assert word_weights(vocabulary, Unigrams(), **options, hotwords=["bb a"])((3, 3), True)[1] == pytest.approx(0.1)
    tokens = token_weights(vocabulary, Unigrams(), **options, sentence_boundaries=False)
    assert tokens((3, 2), True) == pytest.approx((2 * (-1 - 3), 0.2 - 6.0, 0.0))
    model = model_weights(Bigram(), lm_weight=0.5, word_bonus=1.0)
    assert model((1, 2), True) == pytest.approx((1.5 * math.log(0.25), 2.0, 0.0))
    hot = hotword_weights(vocabulary, {"ab": 4.0, "ab b": 9.0})
    assert [hot(prefix, False)[1] for prefix in ((2,), (2, 3), (2, 3, 1, 2), (2, 2))] == pytest.approx(
        [2.25, 4.5, 6.25, 0]
    )
    assert [hot(prefix, True)[1] for prefix in ((2,), (2, 3), (2, 3, 1, 3))] == pytest.approx([0, 4, 9])


def test_the_textbook_beam_ranks_with_the_lookahead() -> None:
    log_probs = np.log([[0.2, 0.5, 0.3]])

    def weigh(prefix, final):
        return 0.0, 0.25 * len(prefix), 0.0 if final or prefix != (1,) else -5.0

    (found,) = full_expansion(log_probs, beam_size=1, weights=[weigh])
    assert found.tokens == (2,)
    assert (found.score, found.bonus) == (pytest.approx(math.log(0.3) + 0.25), 0.25)
    assert [h.tokens for h in full_expansion(log_probs, beam_size=3, weights=[weigh])] == [(1,), (2,), ()]


def test_posteriors_are_realistic() -> None:
    rng = np.random.default_rng(0)
    tokens = [token for token in rng.integers(1, 29, 40).tolist() for _ in range(2)]
    log_probs = random_posteriors(tokens, 400, 29, rng)
    assert log_probs.dtype == np.float32
    assert np.logaddexp.reduce(log_probs, axis=1) == pytest.approx(0, abs=1e-5)
    assert 0.6 < (log_probs.argmax(axis=1) == 0).mean() < 0.9
    (greedy,) = CtcGreedy()(log_probs)
    wrong = sum(edit.operation != "equal" for edit in align(tokens, greedy.tokens))
    assert 0.01 < wrong / len(tokens) < 0.2
    assert random_posteriors([2, 2], 3, 4, rng).shape == (3, 4)
    with pytest.raises(ValueError, match="2 tokens need 3 frames, got 2"):
        random_posteriors([2, 2], 2, 4, rng)


def broken(change):
    """A decoder whose output is changed."""
    return lambda log_probs: change(CtcBeam(n_best=4)(log_probs))


def write(log_probs):
    log_probs[:] = -1.0
    return CtcGreedy()(log_probs)


class Forgetful:
    """Another score at every call."""

    calls = 0

    def __call__(self, log_probs):
        self.calls += 1
        return [Hypothesis((), -float(self.calls))]


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (broken(lambda found: []), "at least one"),
        (broken(lambda found: [found[0], found[0]]), "all different"),
        (broken(lambda found: found[::-1]), "best first"),
        (broken(lambda found: [replace(found[0], score=math.nan)]), "finite"),
        (broken(lambda found: [replace(found[0], tokens=(29,))]), "0 to 28"),
        (broken(lambda found: [replace(found[0], tokens=(1,), frames=((0, 0),))]), "rising frames"),
        (broken(lambda found: [replace(found[0], tokens=(1,), frames=((0, 1000),))]), "rising frames"),
        (broken(lambda found: [replace(found[0], tokens=(1, 2), frames=((0, 1),))]), "each token or none"),
        (broken(lambda found: [replace(found[0], language=-1.0)]), "sum of its parts"),
        (write, "wrote into"),
        (Forgetful(), "another output"),
    ],
)
def test_check_decoder_finds(decoder, message) -> None:
    with pytest.raises(AssertionError, match=message):
        check_decoder(decoder)


class Bigram:
    """Log-probabilities of a table; 0 begins and ends."""

    def __init__(self, scale=1.0):
        self.table = scale * np.log(np.full((4, 4), 0.25))

    def start(self):
        return [0]

    def step(self, state, token):
        return [token], float(self.table[state[0], token])

    def finish(self, state):
        return float(self.table[state[0], 0])


class WritesIntoState(Bigram):
    def __init__(self):
        self.table = np.log([[0.1, 0.2, 0.3, 0.4]] * 2 + [[0.4, 0.3, 0.2, 0.1]] * 2)

    def step(self, state, token):
        score = float(self.table[state[0], token])
        state[0] = token
        return state, score


def test_check_language_model() -> None:
    check_language_model(Bigram(), [1, 2, 3, 1])
    with pytest.raises(AssertionError, match="log-probabilities"):
        check_language_model(Bigram(scale=-1.0), [1, 2])
    with pytest.raises(AssertionError, match="log-probabilities"):
        check_language_model(Bigram(scale=math.nan), [1, 2])
    with pytest.raises(AssertionError, match="changed the state"):
        check_language_model(WritesIntoState(), [1, 2, 3, 1])
