"""CTC as a step function and as a second opinion, against sums over all paths."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_decoders import AttentionBeam, CtcBeam, Hypothesis, ctc_score
from asr_decoders.joint import CtcPrefix, attention_scores, rescore
from asr_decoders.testing import every_labelling, every_sequence, random_posteriors, table_step

BLANK, BEGIN, END = 0, 1, 2


def posteriors(rng, frames, size, *, impossible=0.2):
    """(T, V) log-probabilities, some -inf."""
    logits = rng.normal(0, 2, (frames, size))
    logits[rng.random(logits.shape) < impossible] = -np.inf
    logits[:, BLANK] = rng.normal(0, 1, frames)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def read(prefix, tokens):
    """(V,) what follows the tokens, of utterance 0."""
    state = prefix.start()
    for token in (BEGIN, *tokens):
        log_probs, state = prefix(np.full(prefix.batch, token, dtype=np.int32), state)
    return log_probs[0]


@pytest.mark.parametrize("seed", range(40))
def test_prefixes_are_sums_over_all_paths(seed) -> None:
    rng = np.random.default_rng(seed)
    size, frames = int(rng.integers(4, 6)), int(rng.integers(0, 5))
    log_probs = posteriors(rng, frames, size)
    labellings = every_labelling(log_probs, blank=BLANK)

    def log_sum(scores):
        return np.logaddexp.reduce(scores) if scores else -np.inf

    def of_prefix(prefix):
        return log_sum([score for labels, score in labellings.items() if labels[: len(prefix)] == prefix])

    step = CtcPrefix([log_probs], end=END, blank=BLANK)
    for prefix in [(), (3,), (3, 3), (1, 3), (3, 1, 3), (3, 3, 3)]:
        found = read(step, prefix)
        whole = of_prefix(prefix)
        if whole == -np.inf:
            assert np.isneginf(found).all()
            continue
        expected = [of_prefix((*prefix, token)) - whole for token in range(size)]
        expected[BLANK] = -np.inf
        expected[END] = labellings.get(prefix, -np.inf) - whole
        assert found == pytest.approx(expected, abs=1e-9)


def test_every_sequence_is_every_labelling() -> None:
    rng = np.random.default_rng(1)
    log_probs = posteriors(rng, 4, 4, impossible=0.0)
    step = CtcPrefix([log_probs], end=END, blank=BLANK)
    found = every_sequence(step, step.start(), begin=BEGIN, end=END, max_length=4)
    spoken = {labels: p for labels, p in every_labelling(log_probs).items() if not {BEGIN, END} & set(labels)}
    assert found.keys() == spoken.keys()
    assert list(found.values()) == pytest.approx([spoken[labels] for labels in found], abs=1e-9)


def test_log_probabilities_add_up_to_one() -> None:
    rng = np.random.default_rng(2)
    log_probs = random_posteriors([3, 4, 4, 5, 3], 60, 8, rng)
    log_probs[:, END] = -np.inf  # what CTC says of it is lost, so let it be nothing
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    step = CtcPrefix([log_probs], end=END, blank=BLANK)
    for prefix in [(), (3,), (3, 4), (3, 4, 4), (5, 5, 5)]:
        assert np.logaddexp.reduce(read(step, prefix)) == pytest.approx(0.0, abs=1e-4)  # float32


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3))
def test_steps_add_up_to_the_score_in_any_batch_and_order(seed, batch, beam_size) -> None:
    rng = np.random.default_rng(seed)
    arrays = [random_posteriors([], int(rng.integers(0, 40)), 7, rng) for _ in range(batch)]
    step = CtcPrefix(arrays, end=END, blank=BLANK)
    texts = rng.integers(3, 7, (batch * beam_size, int(rng.integers(0, 5))))
    rows = np.arange(batch * beam_size)
    state, total = step.start(beam_size), np.zeros(rows.size)
    tokens = np.full(rows.size, BEGIN, dtype=np.int32)
    for token in (*texts.T, np.full(rows.size, END)):
        log_probs, state = step(tokens, state)
        with np.errstate(invalid="ignore"):
            total += log_probs[rows, token]
        tokens = token.astype(np.int32)
    expected = [ctc_score(arrays[row // beam_size], text, blank=BLANK) for row, text in enumerate(texts.tolist())]
    assert total == pytest.approx(np.array(expected), abs=1e-8)


def test_a_long_utterance_keeps_its_digits() -> None:
    rng = np.random.default_rng(3)
    text = rng.integers(3, 30, 120).tolist()
    log_probs = random_posteriors(text, 1500, 30, rng)
    step = CtcPrefix([log_probs], end=END, blank=BLANK)
    total = attention_scores(step, step.start(), [text], begin=BEGIN, end=END)
    assert total == pytest.approx(ctc_score(log_probs, text), rel=1e-10)


def test_ctc_alone_finds_what_the_ctc_search_finds() -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        log_probs = random_posteriors(rng.integers(3, 9, 6).tolist(), 50, 9, rng)
        log_probs[:, [BEGIN, END]] = -np.inf
        best = CtcBeam(blank=BLANK, beam_size=50, n_best=3, align=False)(log_probs)
        search = AttentionBeam(begin=BEGIN, end=END, beam_size=20, n_best=3, ctc_weight=1.0, blank=BLANK)
        nothing = table_step(np.full((9, 9), -np.log(9)))
        (found,) = search(nothing, (), batch=1, max_lengths=20, ctc=[log_probs])
        assert [h.tokens for h in found] == [h.tokens for h in best]
        assert [h.score for h in found] == pytest.approx([ctc_score(log_probs, h.tokens) for h in found], abs=1e-6)


def test_rescoring_mixes_exact_scores() -> None:
    rng = np.random.default_rng(5)
    log_probs = posteriors(rng, 6, 5)
    table = posteriors(rng, 5, 5, impossible=0.0)
    hypotheses = [
        Hypothesis(tokens=(3, 4), score=-1.0, finished=False),
        Hypothesis(tokens=(), score=-2.0),
        Hypothesis(tokens=(4,), score=-9.0, acoustic=-7.0, language=-3.0, bonus=1.0),
        Hypothesis(tokens=(3, 3, 3, 3), score=-1.0),  # needs seven frames
    ]
    state = {"rows": np.arange(4)}
    for weight in (0.0, 0.3, 1.0):
        found = rescore(hypotheses, table_step(table), state, log_probs, begin=BEGIN, end=END, ctc_weight=weight)
        assert [h.score for h in found] == sorted([h.score for h in found], reverse=True)
        assert {h.tokens for h in found} == {h.tokens for h in hypotheses}
        for hypothesis in found:
            path = (BEGIN, *hypothesis.tokens, END)
            attention = sum(table[i, j] for i, j in pairwise(path))
            ctc = ctc_score(log_probs, hypothesis.tokens, blank=BLANK)
            expected = (1 - weight) * attention + (weight * ctc if weight else 0.0)
            assert hypothesis.acoustic == pytest.approx(expected)
            assert hypothesis.score == pytest.approx(expected + (-2.0 if hypothesis.tokens == (4,) else 0.0))
            assert hypothesis.finished
    assert rescore([], table_step(table), (), log_probs, begin=BEGIN, end=END) == []


def test_told_sequences_have_the_probabilities_of_the_model() -> None:
    rng = np.random.default_rng(6)
    weights, embedding = rng.normal(0, 1, (4, 4)), rng.normal(0, 1, (5, 4))
    output = rng.normal(0, 2, (4, 5))

    def step(tokens, state):
        hidden = np.tanh(state["hidden"] @ weights + embedding[tokens])
        logits = hidden @ output
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), {"hidden": hidden}

    everything = every_sequence(step, {"hidden": np.zeros((1, 4))}, begin=BEGIN, end=END, max_length=3)
    sequences = list(everything)
    scores = attention_scores(step, {"hidden": np.zeros((len(sequences), 4))}, sequences, begin=BEGIN, end=END)
    assert scores == pytest.approx(list(everything.values()))


def test_wrong_arguments_are_refused() -> None:
    rng = np.random.default_rng(0)
    good, other = posteriors(rng, 3, 5), posteriors(rng, 3, 4)
    for arguments, message in [
        (([good, other], END, BLANK), r"of one V, expected, got V \[5, 4\]"),
        (([], END, BLANK), "at least one utterance"),
        (([good], 5, BLANK), "end must be less than V = 5"),
        (([good], END, 5), "blank must be less than V = 5"),
        (([good + 3], END, BLANK), "apply log_softmax"),
        (([good[0]], END, BLANK), r"\(T, V\) of one utterance expected"),
        (([np.full((3, 5), np.nan)], END, BLANK), "got nan"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            CtcPrefix(arguments[0], end=arguments[1], blank=arguments[2])
        assert "\n" not in str(caught.value)
    step = CtcPrefix([good], end=END, blank=BLANK)
    _, state = step(np.array([9]), step.start())
    for tokens in ([5], [-1], [1, 1], [[1]]):
        with pytest.raises(ValueError, match=r"tokens \(1,\) under V = 5 expected, got"):
            step(np.array(tokens), state)
    table = table_step(posteriors(rng, 5, 5))
    one = [Hypothesis(tokens=(3,), score=0.0)]
    with pytest.raises(ValueError, match="ctc_weight"):
        rescore(one, table, (), good, begin=BEGIN, end=END, ctc_weight=-0.1)
    with pytest.raises(ValueError, match="tokens are ids under V = 5 and not the blank 0, got 0"):
        rescore([Hypothesis(tokens=(0,), score=0.0)], table, (), good, begin=BEGIN, end=END)
    with pytest.raises(ValueError, match="tokens are ids under V = 5 of the step, got 7"):
        attention_scores(table, (), [(3, 7)], begin=BEGIN, end=END)
    with pytest.raises(ValueError, match="tokens are ids under V = 5 of the step, got -1"):
        attention_scores(table, (), [(3, -1)], begin=BEGIN, end=END)
    broken = np.full((5, 5), -1.0)
    broken[3] = np.nan
    with pytest.raises(ValueError, match="got nan after 1 tokens"):
        attention_scores(table_step(broken), (), [(3,)], begin=BEGIN, end=END)
