"""Attention search with language models, hotwords, CTC and all options, against a literal search in lists."""

import math
from functools import cache

import numpy as np
import pytest

from asr_decoders import AttentionBeam, Vocabulary
from asr_decoders.ensemble import Scorer
from asr_decoders.ngram import NGram
from asr_decoders.testing import every_labelling, hotword_weights, model_weights, token_weights, word_weights

BEGIN, END = 1, 2  # 0 is the blank
NORMS = [("none", 0.0), ("gnmt", 0.6), ("power", 1.0)]
ARPA = """\\data\\
ngram 1=7
ngram 2=5

\\1-grams:
-1.5 <unk> 0
-99 <s> -0.4
-0.9 </s>
-0.6 a -0.2
-0.8 b -0.3
-0.7 ab -0.1
-1.1 ba -0.3

\\2-grams:
-0.3 <s> a
-0.5 a b
-0.2 b </s>
-0.4 a ba
-0.3 ab </s>

\\end\\
"""


class Toy:
    """A random recurrent model with attention, as a step function: what follows depends on all tokens."""

    def __init__(self, rng, size, frames=3, dim=5):
        self.input, self.output = rng.normal(0, 1.5, (size, dim)), rng.normal(0, 1, (dim, size))
        self.recurrent, self.keys = rng.normal(0, 0.7, (dim, dim)), rng.normal(0, 1.5, (frames, dim))
        self.bias = np.eye(size)[END] * rng.uniform(-1, 2)
        self.begin = rng.normal(0, 1, dim)

    def start(self, rows):
        return {"hidden": np.tile(self.begin, (rows, 1))}

    def __call__(self, tokens, state):
        hidden = np.tanh(state["hidden"] @ self.recurrent + self.input[tokens])
        attention = softmax(hidden @ self.keys.T)
        return (
            np.log(softmax((hidden + attention @ self.keys) @ self.output + self.bias)),
            {"hidden": hidden},
            attention,
        )


class Without:
    """The same without attention."""

    def __init__(self, toy):
        self.toy = toy

    def __call__(self, tokens, state):
        return self.toy(tokens, state)[:2]


class Remembered:
    """The scores of an n-gram model, for the slow truth."""

    def __init__(self, ngram):
        self.vocabulary = ngram.vocabulary
        self._score = cache(ngram.score)

    def score(self, words, *, bos=True, eos=True):
        return self._score(tuple(words), bos=bos, eos=eos)


class Bigram:
    """A language model of one's own, over token ids."""

    def __init__(self, table):
        self.table = table  # (V, V), after the token of the row

    def start(self):
        return BEGIN

    def step(self, state, token):
        return token, float(self.table[state, token])

    def finish(self, state):
        return float(self.table[state, END])


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def literal(
    toy,
    *,
    beam_size,
    most,
    n_best,
    least=0,
    norm=("none", 0.0),
    coverage=0.0,
    threshold=None,
    scorers=(),
    ctc=None,
    ctc_weight=0.0,
    weights=(),
):
    """Beam search in lists, always to the end: (score, tokens, parts). CTC by brute force over all paths."""
    labellings = {} if ctc is None else every_labelling(ctc)

    @cache
    def spoken(model, prefix):
        """After a prefix: what the model says of the next token, its state, ln p of the prefix, sum of attention."""
        if prefix:
            said, state, total, attended = spoken(model, prefix[:-1])
            total += said[prefix[-1]]
        else:
            state, total, attended = model.start(1), 0.0, 0.0
        log_probs, state, attention = model(np.array([prefix[-1] if prefix else BEGIN], dtype=np.int32), state)
        return log_probs[0].tolist(), state, total, attended + attention[0]

    def score(prefix, end):
        """Acoustic, language and bonus of a prefix or a hypothesis, and the lookahead."""
        totals = []
        for model in (toy, *(model for _, model in scorers)):
            said, _, total, _ = spoken(model, prefix)
            totals.append(total + (said[END] if end else 0.0))
        acoustic, *others = totals
        if ctc is not None:
            whole = [p for labels, p in labellings.items() if (labels if end else labels[: len(prefix)]) == prefix]
            mass = np.logaddexp.reduce(whole) if whole else -math.inf
            acoustic = ((1 - ctc_weight) * acoustic if ctc_weight < 1 else 0.0) + ctc_weight * mass
        language = sum(weight * other for (weight, _), other in zip(scorers, others, strict=True))
        added = [weigh(prefix, end) for weigh in weights]
        language, bonus = language + sum(part[0] for part in added), sum(part[1] for part in added)
        return acoustic, language, bonus, 0.0 if end else sum(part[2] for part in added)

    alive, finished = [()], []
    for length in range(most + 1):
        candidates = []
        for prefix in alive:
            *parts, _ = score(prefix, True)
            last, _, _, attended = spoken(toy, prefix)
            others = max(p for token, p in enumerate(last) if token not in (BEGIN, END))
            likely = threshold is None or length == most or last[END] > threshold * others
            if length >= least and likely and sum(parts) > -math.inf:
                candidates.append((sum(parts), True, prefix, parts, attended))
            for token in range(len(last)):
                if token not in (BEGIN, END) and length < most:
                    candidates.append((sum(score((*prefix, token), False)), False, (*prefix, token), None, None))
        candidates = sorted((c for c in candidates if c[0] > -math.inf), key=lambda c: -c[0])
        for _, end, prefix, parts, attended in candidates[:beam_size]:
            if end:
                kind, penalty = norm
                divisor = {"none": 1, "gnmt": (6 + length) / 6, "power": length + 1}[kind] ** penalty
                covered = sum(math.log(min(max(a, 1e-6), 1)) for a in attended)
                acoustic, language, bonus = (part / divisor for part in parts)
                bonus += coverage * covered
                finished.append((acoustic + language + bonus, prefix, (acoustic, language, bonus)))
        alive = [prefix for _, end, prefix, *_ in candidates if not end][:beam_size]
    return sorted(finished, key=lambda found: -found[0])[:n_best]


def assert_same(found, expected):
    assert [h.tokens for h in found] == [tokens for _, tokens, _ in expected]
    assert [h.score for h in found] == pytest.approx([score for score, *_ in expected], abs=1e-9)
    for hypothesis, (*_, parts) in zip(found, expected, strict=True):
        assert (hypothesis.acoustic, hypothesis.language, hypothesis.bonus) == pytest.approx(parts, abs=1e-9)
        assert hypothesis.finished
    assert len({h.tokens for h in found}) == len(found)


@pytest.fixture(scope="module")
def ngram(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(ARPA)
    return NGram.read(path)


PIECES = ("<blank>", "<s>", "</s>", "a", "b", " ")


def drawn(rng, ngram, size):
    """Options of the search at random, and what they are in the literal one."""
    kind = rng.choice(["none", "token", "word", "own", "hot"] if size <= len(PIECES) else ["none", "own"])
    options, weights = {}, []
    words = Vocabulary(PIECES[:size], special=(0, 1, 2))
    scale = {"lm_weight": float(rng.uniform(0, 2)), "word_bonus": float(rng.choice([0.0, -0.5, 1.5]))}
    if kind in ("token", "word"):
        make = token_weights if kind == "token" else word_weights
        scale["unknown_log_prob"] = -2.0
        options = {"lm": ngram, "lm_level": kind, "vocabulary": words, **scale}
        weights = [make(words, Remembered(ngram), **scale)]
    elif kind == "own":
        table = np.log(softmax(rng.normal(0, 2, (size, size))))
        options = {"lm": Bigram(table), "lm_level": "token", **scale}
        weights = [model_weights(Bigram(table), **scale)]
    elif kind == "hot":
        phrases = {"ab": float(rng.uniform(-3, 3)), "a ba": 2.0}
        options = {"hotwords": phrases, "vocabulary": words}
        weights = [hotword_weights(words, phrases)]
    return options, weights


def posteriors(rng, frames, size):
    """(T, V), some -inf."""
    logits = rng.normal(0, 2, (frames, size))
    logits[rng.random(logits.shape) < 0.2] = -np.inf
    logits[:, 0] = rng.normal(0, 1, frames)
    with np.errstate(divide="ignore"):
        return np.log(softmax(logits)) if frames else logits


@pytest.mark.filterwarnings("ignore:.*cannot be spelt")
@pytest.mark.parametrize("seed", range(50))
def test_a_wide_beam_is_exhaustive_search(seed, ngram) -> None:
    for toy in range(20):
        check(np.random.default_rng([seed, toy]), ngram, beam_size=70)


@pytest.mark.filterwarnings("ignore:.*cannot be spelt")
@pytest.mark.parametrize("seed", range(20))
def test_a_narrow_beam_is_the_literal_one(seed, ngram) -> None:
    for toy in range(10):
        rng = np.random.default_rng([seed, toy, 1])
        check(rng, ngram, beam_size=int(rng.integers(1, 6)), longest=5, largest=70)


def check(rng, ngram, beam_size, longest=3, largest=6):
    size = int(rng.integers(4, 7)) if rng.random() < 0.7 else largest
    batch, most = int(rng.integers(1, 3)), int(rng.integers(0, longest + 1))
    frames = int(rng.integers(1, 4))
    toys = [Toy(rng, size, frames) for _ in range(batch)]
    neural = [Toy(rng, size) for _ in range(rng.integers(0, 3))]
    weight = [float(rng.uniform(0, 1)) for _ in neural]
    options, weights = drawn(rng, ngram, size)
    ctc_weight = float(rng.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1]))
    ctc = None
    if ctc_weight:
        ctc = [posteriors(rng, int(rng.integers(0, 5 if size < 10 else 2)), size) for _ in toys]
    coverage = float(rng.choice([0.0, 0.4]))
    least = int(rng.integers(0, most + 1)) if rng.random() < 0.3 else 0
    threshold = float(rng.choice([0.8, 1.5])) if rng.random() < 0.3 else None
    norm = NORMS[rng.integers(3)]
    n_best = int(rng.integers(1, beam_size + 1))
    search = AttentionBeam(
        begin=BEGIN, end=END, beam_size=beam_size, n_best=n_best, length_norm=norm[0], length_penalty=norm[1],
        coverage_penalty=coverage, min_length=least, end_threshold=threshold, ctc_weight=ctc_weight, **options,
    )  # fmt: skip

    def step(tokens, state):
        parts = [
            toy(rows, {"hidden": hidden})
            for toy, rows, hidden in zip(toys, np.split(tokens, batch), np.split(state, batch), strict=True)
        ]
        log_probs, states, attention = zip(*parts, strict=True)
        return np.concatenate(log_probs), np.concatenate([s["hidden"] for s in states]), np.concatenate(attention)

    state = np.concatenate([toy.start(beam_size)["hidden"] for toy in toys])
    scorers = [
        Scorer(Without(model), model.start(batch * beam_size), w) for w, model in zip(weight, neural, strict=True)
    ]
    found = search(step, state, batch=batch, max_lengths=most, scorers=scorers, ctc=ctc)
    for b, toy in enumerate(toys):
        expected = literal(
            toy, beam_size=beam_size, most=most, n_best=n_best, least=least, norm=norm, coverage=coverage,
            threshold=threshold, scorers=list(zip(weight, neural, strict=True)), ctc=None if ctc is None else ctc[b],
            ctc_weight=ctc_weight, weights=weights,
        )  # fmt: skip
        if expected:
            assert_same(found[b], expected)
        else:
            assert not any(h.finished for h in found[b])


def test_a_long_word_bonus_needs_patience(ngram) -> None:
    """With a word bonus longer hypotheses may always be better, so that nothing but patience ends the search."""
    rng = np.random.default_rng(0)
    toy = Toy(rng, 6)
    calls = []

    def step(tokens, state):
        calls.append(tokens)
        return toy(tokens, state)

    words = Vocabulary(PIECES, special=(0, 1, 2))
    options = {"begin": BEGIN, "end": END, "beam_size": 4, "lm": ngram, "lm_level": "token", "vocabulary": words}
    AttentionBeam(**options, word_bonus=1.0)(step, toy.start(4), batch=1, max_lengths=30)
    assert len(calls) == 31
    calls.clear()
    AttentionBeam(**options, word_bonus=1.0, patience=1.0)(step, toy.start(4), batch=1, max_lengths=30)
    assert 1 < len(calls) < 31
    calls.clear()
    AttentionBeam(**options)(step, toy.start(4), batch=1, max_lengths=30)
    assert 1 < len(calls) < 31


def test_a_hotword_is_found(ngram) -> None:
    words = Vocabulary(PIECES, special=(0, 1, 2))
    with np.errstate(divide="ignore"):
        table = np.log(np.array([[0, 0, 0.2, 0.5, 0.3, 0]] * 6))
    options = {"begin": BEGIN, "end": END, "beam_size": 5, "vocabulary": words, "max_length_ratio": 1.0}

    def read(**more):
        search = AttentionBeam(**options, **more)
        return search(lambda tokens, state: (table[tokens], state), (), batch=1, memory_lengths=[3])[0][0]

    assert read(length_norm="power", length_penalty=1.0).text == "aaa"
    best = read(length_norm="power", length_penalty=1.0, hotwords={"bab": 3.0})
    assert best.text == "bab"
    assert best.bonus == pytest.approx(3.0 / 4)
    assert best.score == pytest.approx((np.log(0.3 * 0.5 * 0.3 * 0.2) + 3.0) / 4)


def test_parts_add_up_and_hypotheses_differ_with_everything(ngram) -> None:
    rng = np.random.default_rng(4)
    toy, neural = Toy(rng, 6), Toy(rng, 6)
    words = Vocabulary(PIECES, special=(0, 1, 2))
    search = AttentionBeam(
        begin=BEGIN, end=END, beam_size=8, n_best=8, vocabulary=words, lm=ngram, hotwords={"ab": 1.0}, ctc_weight=0.3,
        coverage_penalty=0.2, length_norm="gnmt", length_penalty=0.6, keep_attention=True,
    )  # fmt: skip
    ctc = [posteriors(rng, 6, 6)]
    scorers = [Scorer(Without(neural), neural.start(8), 0.4)]
    (found,) = search(toy, toy.start(8), batch=1, max_lengths=5, scorers=scorers, ctc=ctc)
    assert len({h.tokens for h in found}) == len(found) == 8
    for h in found:
        assert h.acoustic + h.language + h.bonus == pytest.approx(h.score)
        assert h.language < 0
        assert h.attention.shape == (len(h.tokens), 3)
        assert h.text == words.text(h.tokens)


def test_wrong_scorers_and_ctc_are_refused() -> None:
    rng = np.random.default_rng(0)
    toy, other = Toy(rng, 6), Toy(rng, 5)
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=2)
    call = {"batch": 1, "max_lengths": 3}
    with pytest.raises(ValueError, match=r"log-probabilities \(2, 6\) expected of scorer 0, got \(2, 5\)"):
        search(toy, toy.start(2), **call, scorers=[Scorer(Without(other), other.start(2), 0.5)])
    with pytest.raises(ValueError, match=r"log-probabilities expected of scorer 1 \(natural log, at most 0\), got nan"):
        bad = Scorer(lambda tokens, state: (np.full((2, 6), np.nan), state), (), 0.5)
        search(toy, toy.start(2), **call, scorers=[Scorer(Without(toy), toy.start(2), 0.5), bad])
    with pytest.raises(ValueError, match="weight must be a number from 0 to 100, got -1"):
        Scorer(toy, (), -1)
    joint = AttentionBeam(begin=BEGIN, end=END, beam_size=2, ctc_weight=0.3)
    with pytest.raises(ValueError, match="where there is a ctc_weight, and only there, got none"):
        joint(toy, toy.start(2), **call)
    with pytest.raises(ValueError, match="and only there, got them and ctc_weight 0"):
        search(toy, toy.start(2), **call, ctc=[posteriors(rng, 3, 6)])
    with pytest.raises(ValueError, match="of each of 1 utterances expected, got 2"):
        joint(toy, toy.start(2), **call, ctc=[posteriors(rng, 3, 6)] * 2)
    with pytest.raises(ValueError, match="CTC log-probabilities of V = 6 expected, got 5"):
        joint(toy, toy.start(2), **call, ctc=[posteriors(rng, 3, 5)])
    with pytest.raises(ValueError, match='needs lm_level="token"'):
        AttentionBeam(begin=BEGIN, end=END, beam_size=2, lm=Bigram(np.zeros((6, 6))))
    with pytest.raises(ValueError, match="hotwords are text and need a vocabulary"):
        AttentionBeam(begin=BEGIN, end=END, beam_size=2, hotwords={"a": 1.0})
