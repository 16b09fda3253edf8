"""Attention decoding against exhaustive search and against a slow beam search without early stopping."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_decoders import AttentionBeam, AttentionGreedy, Vocabulary, repeat
from asr_decoders.testing import every_sequence, table_step

END, BEGIN = 0, 1
NORMS = [("none", 0.0), ("gnmt", 0.6), ("gnmt", 2.0), ("power", 0.5), ("power", 1.0), ("power", 1.7)]


class Hidden(NamedTuple):
    values: np.ndarray  # (N, D)


class Recurrent:
    """A random recurrent model with attention: what follows depends on all tokens, and on the utterance."""

    def __init__(self, rng, size, end_bias=0.0, dim=6):
        self.input, self.output = rng.normal(0, 2, (size, dim)), rng.normal(0, 1.5, (dim, size))
        self.recurrent, self.bias = rng.normal(0, 0.7, (dim, dim)), np.eye(size)[END] * end_bias
        self.dim, self.steps = dim, 0

    def start(self, rng, batch):
        """The state of one row for each utterance; the memory (B, 3, D) is to be shared by the beams."""
        memory = rng.normal(0, 1, (batch, 3, self.dim))
        return {"memory": memory, "rest": [Hidden(np.zeros((batch, self.dim))), (None, "kept", 3.5)]}

    def __call__(self, tokens, state):
        assert tokens.dtype == np.int32
        self.steps += 1
        (hidden, rest), memory = state["rest"], state["memory"]
        assert rest == (None, "kept", 3.5)
        beams = len(tokens) // len(memory)
        context = np.repeat(memory, beams, axis=0).mean(axis=1)
        values = np.tanh(hidden.values @ self.recurrent + self.input[tokens] + context)
        logits = values @ self.output + self.bias
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return log_probs, {"memory": memory, "rest": [Hidden(values), rest]}


def with_beams(state, beam_size):
    """The state for a search: the hidden values repeated, the memory shared."""
    hidden, rest = state["rest"]
    return {"memory": state["memory"], "rest": [repeat(hidden, beam_size), rest]}


def of_utterance(state, b):
    hidden, rest = state["rest"]
    return {"memory": state["memory"][b : b + 1], "rest": [Hidden(hidden.values[b : b + 1]), rest]}


def norm(kind, penalty, length):
    return {"none": 1.0, "gnmt": ((5 + length) / 6) ** penalty, "power": length**penalty}[kind]


def ranked(scores, kind, penalty, min_length=0):
    """(score, tokens), best first, of {tokens: log-probability}."""
    pairs = [(s / norm(kind, penalty, len(t) + 1), t) for t, s in scores.items() if len(t) >= min_length]
    return sorted(pairs, reverse=True)


def slow_beam(step, state, *, beam_size, n_best, kind, penalty, max_length, min_length=0):
    """Beam search in lists, one row at a time, always as far as max_length."""
    alive, finished = [(0.0, (), state)], {}
    for length in range(max_length + 1):
        candidates = []
        for score, prefix, before in alive:
            last = np.array([prefix[-1] if prefix else BEGIN], dtype=np.int32)
            log_probs, after = step(last, before)
            for token, log_prob in enumerate(log_probs[0].tolist()):
                end = token == END
                if (end and length >= min_length) or (not end and token != BEGIN and length < max_length):
                    candidates.append((score + log_prob, end, (*prefix, token), after))
        candidates.sort(key=lambda candidate: -candidate[0])
        for score, end, prefix, _ in candidates[:beam_size]:
            if end:
                finished[prefix[:-1]] = score
        alive = [(score, prefix, after) for score, end, prefix, after in candidates if not end][:beam_size]
    return ranked(finished, kind, penalty)[:n_best]


def assert_ranking(hypotheses, expected):
    assert [h.tokens for h in hypotheses] == [tokens for _, tokens in expected]
    assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-9)
    assert all(h.finished for h in hypotheses)


@pytest.mark.parametrize("seed", range(60))
def test_wide_beam_is_exhaustive_search(seed) -> None:
    rng = np.random.default_rng(seed)
    size, batch, n_best = int(rng.integers(3, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 8))
    limits = rng.integers(0, 5, batch)
    kind, penalty = NORMS[seed % len(NORMS)]
    model = Recurrent(rng, size)
    start = model.start(rng, batch)
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=60, n_best=n_best, length_norm=kind, length_penalty=penalty)
    found = search(model, with_beams(start, 60), batch=batch, max_lengths=limits)
    for b in range(batch):
        everything = every_sequence(model, of_utterance(start, b), begin=BEGIN, end=END, max_length=int(limits[b]))
        assert_ranking(found[b], ranked(everything, kind, penalty)[:n_best])


@pytest.mark.parametrize("seed", range(90))
def test_stopping_early_changes_nothing(seed) -> None:
    rng = np.random.default_rng(100 + seed)
    size = int(rng.integers(3, 12)) if seed % 3 else int(rng.integers(30, 140))
    batch, beam_size = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    limits, n_best = rng.integers(2, 12, batch), int(rng.integers(1, beam_size + 1))
    min_length = int(rng.integers(0, 3))
    kind, penalty = NORMS[seed % len(NORMS)]
    model = Recurrent(rng, size, end_bias=rng.uniform(-2, 2))
    start = model.start(rng, batch)
    search = AttentionBeam(
        begin=BEGIN,
        end=END,
        beam_size=beam_size,
        n_best=n_best,
        length_norm=kind,
        length_penalty=penalty,
        min_length=min_length,
    )
    found = search(model, with_beams(start, beam_size), batch=batch, max_lengths=limits)
    for b in range(batch):
        expected = slow_beam(
            model,
            of_utterance(start, b),
            beam_size=beam_size,
            n_best=n_best,
            kind=kind,
            penalty=penalty,
            max_length=int(limits[b]),
            min_length=min_length,
        )
        assert_ranking(found[b], expected)


@pytest.mark.parametrize("seed", range(30))
def test_greedy_is_a_beam_of_one(seed) -> None:
    rng = np.random.default_rng(200 + seed)
    model = Recurrent(rng, 6, end_bias=0.5)
    start = model.start(rng, 3)
    limits = [0, 4, 9]
    greedy = AttentionGreedy(begin=BEGIN, end=END)(model, start, batch=3, max_lengths=limits)
    beam = AttentionBeam(begin=BEGIN, end=END, beam_size=1)(model, start, batch=3, max_lengths=limits)
    assert [[h.tokens for h in hs] for hs in greedy] == [[h.tokens for h in hs] for hs in beam]
    assert [hs[0].score for hs in greedy] == pytest.approx([hs[0].score for hs in beam])
    for b, limit in enumerate(limits):
        expected = slow_beam(
            model,
            of_utterance(start, b),
            beam_size=1,
            n_best=1,
            kind="none",
            penalty=0.0,
            max_length=limit,
        )
        assert_ranking(greedy[b], expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(NORMS))
def test_an_utterance_is_the_same_alone_and_hypotheses_differ(seed, beam_size, length_norm) -> None:
    rng = np.random.default_rng(seed)
    kind, penalty = length_norm
    model = Recurrent(rng, 5, end_bias=rng.uniform(-2, 3))
    start, limits = model.start(rng, 4), rng.integers(0, 8, 4)
    search = AttentionBeam(
        begin=BEGIN,
        end=END,
        beam_size=beam_size,
        n_best=beam_size,
        length_norm=kind,
        length_penalty=penalty,
    )
    found = search(model, with_beams(start, beam_size), batch=4, max_lengths=limits)
    for b in range(4):
        state = with_beams(of_utterance(start, b), beam_size)
        (alone,) = search(model, state, batch=1, max_lengths=int(limits[b]))
        assert [h.tokens for h in alone] == [h.tokens for h in found[b]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in found[b]])
        assert 1 <= len(alone) <= beam_size
        assert len({h.tokens for h in alone}) == len(alone)


def log_table(*rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


def test_an_unfinished_hypothesis_can_still_win() -> None:
    # At once, the end is more probable than token 2; divided by its length, a long row of 2 is better.
    table = log_table([1, 0, 0], [0.5, 0.1, 0.4], [0.3, 0.0, 0.7])
    plain = AttentionBeam(begin=BEGIN, end=END, beam_size=2)
    assert plain(table_step(table), (), batch=1, max_lengths=9)[0][0].tokens == ()
    long = AttentionBeam(begin=BEGIN, end=END, beam_size=2, length_norm="power", length_penalty=1.0)
    best = long(table_step(table), (), batch=1, max_lengths=9)[0][0]
    everything = every_sequence(table_step(table), (), begin=BEGIN, end=END, max_length=9)
    assert_ranking([best], ranked(everything, "power", 1.0)[:1])
    assert len(best.tokens) == 9


def test_stops_as_soon_as_nothing_can_change() -> None:
    model = Recurrent(np.random.default_rng(0), 5, end_bias=50.0)
    start = model.start(np.random.default_rng(1), 1)
    AttentionBeam(begin=BEGIN, end=END, beam_size=1)(model, start, batch=1, max_lengths=100)
    assert model.steps == 1


def test_score_is_divided_by_the_norm_of_tokens_and_end() -> None:
    table = log_table([1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.5], [0.25, 0, 0, 0])  # 2, 3 and the end
    log_prob = np.log(0.5 * 0.25)
    for kind, penalty, divisor in [("none", 0.0, 1), ("gnmt", 0.6, (8 / 6) ** 0.6), ("power", 1.0, 3)]:
        search = AttentionBeam(begin=BEGIN, end=END, beam_size=2, length_norm=kind, length_penalty=penalty)
        ((best,),) = search(table_step(table), (), batch=1, max_lengths=5)
        assert best.tokens == (2, 3)
        assert best.score == pytest.approx(log_prob / divisor)


@pytest.mark.parametrize("search", [AttentionGreedy, AttentionBeam])
def test_what_cannot_end_is_returned_unfinished(search) -> None:
    options = {"begin": BEGIN, "end": END} | ({"beam_size": 2} if search is AttentionBeam else {})
    endless = log_table([1, 0, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0.9, 0.1], [0, 0, 0.9, 0.1])
    best = search(**options)(table_step(endless), (), batch=1, max_lengths=3)[0][0]
    assert (best.tokens, best.finished) == ((2, 2, 2), False)
    assert best.score == pytest.approx(np.log(0.6 * 0.9 * 0.9))
    stuck = log_table([1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0])
    best = search(**options)(table_step(stuck), (), batch=1, max_lengths=3)[0][0]
    assert (best.tokens, best.finished, best.score) == ((2,), False, 0.0)


@pytest.mark.parametrize(
    "search", [AttentionGreedy(begin=BEGIN, end=END), AttentionBeam(begin=BEGIN, end=END, beam_size=1)]
)
def test_the_longest_hypothesis_still_ends(search) -> None:
    table = log_table([1, 0, 0], [0.1, 0, 0.9], [0.1, 0, 0.9])
    (long,), (empty,) = search(table_step(table), (), batch=2, max_lengths=[3, 0])
    assert (long.tokens, long.finished) == ((2, 2, 2), True)
    assert long.score == pytest.approx(np.log(0.9**3 * 0.1))
    assert (empty.tokens, empty.finished) == ((), True)
    assert empty.score == pytest.approx(np.log(0.1))


def test_begin_is_never_chosen_and_may_be_the_end() -> None:
    table = log_table([0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1])
    for hypothesis in AttentionBeam(begin=1, end=0, beam_size=4, n_best=4)(
        table_step(table), (), batch=1, max_lengths=4
    )[0]:
        assert 1 not in hypothesis.tokens
    one_id = AttentionBeam(begin=1, end=1, beam_size=4, n_best=4)
    assert one_id(table_step(table), (), batch=1, max_lengths=4)[0][0].tokens == ()


def test_rows_that_are_done_may_hold_anything() -> None:
    table = log_table([0.5, 0, 0.3, 0.2], [0, 0, 0.7, 0.3], [0.9, 0, 0.05, 0.05], [0.05, 0, 0.05, 0.9])

    def step(tokens, state):
        """Utterance 0 is sure of its end after one token, and full of NaN from then on."""
        log_probs = table[tokens].copy()
        if state["step"][0] == 1:
            log_probs[: len(tokens) // 2] = np.log(
                [1, 0, 0, 0], where=[True, False, False, False], out=np.full(4, -np.inf)
            )
        if state["step"][0] > 1:
            log_probs[: len(tokens) // 2] = np.nan
        return log_probs, {"step": state["step"] + 1}

    for search in (AttentionGreedy(begin=1, end=0), AttentionBeam(begin=1, end=0, beam_size=2)):
        rows = 2 * getattr(search, "beam_size", 1)
        found = search(step, {"step": np.zeros(rows, dtype=int)}, batch=2, max_lengths=4)
        assert found[0][0].tokens == (2,)
        assert found[1][0].finished


def test_rows_of_unused_beams_may_hold_anything() -> None:
    table = log_table([0.4, 0, 0.3, 0.3], [0.2, 0, 0.5, 0.3], [0.3, 0, 0.3, 0.4], [0.6, 0, 0.2, 0.2])

    def step(tokens, first):
        """Before the first token an utterance has one beam in use; the rows of the others are NaN."""
        unused = first & (np.arange(len(tokens)) % 3 > 0)
        return np.where(unused[:, None], np.nan, table[tokens]), np.zeros_like(first)

    search = AttentionBeam(begin=BEGIN, end=END, beam_size=3, n_best=3)
    found = search(step, np.ones(6, dtype=bool), batch=2, max_lengths=4)
    assert found == search(table_step(table), (), batch=2, max_lengths=4)


def test_text_and_minimum_length() -> None:
    vocabulary = Vocabulary(("<s>", "</s>", "a", "b"), special=(0, 1))
    table = log_table([0, 0.5, 0.3, 0.2], [0, 1, 0, 0], [0, 0.6, 0.1, 0.3], [0, 0.9, 0.05, 0.05])
    for search in (
        AttentionGreedy(begin=0, end=1, min_length=2, vocabulary=vocabulary),
        AttentionBeam(begin=0, end=1, beam_size=3, min_length=2, vocabulary=vocabulary),
    ):
        ((best,),) = search(table_step(table), (), batch=1, max_lengths=6)
        assert best.text == "ab"


def test_the_state_is_not_written_into() -> None:
    rng = np.random.default_rng(3)
    model = Recurrent(rng, 5)
    state = with_beams(model.start(rng, 2), 3)
    memory, hidden = state["memory"].copy(), state["rest"][0].values.copy()
    AttentionBeam(begin=BEGIN, end=END, beam_size=3)(model, state, batch=2, max_lengths=5)
    assert np.array_equal(state["memory"], memory)
    assert np.array_equal(state["rest"][0].values, hidden)


def test_wrong_steps_are_refused() -> None:
    table = np.full((3, 3), np.log(1 / 3))
    for search in (AttentionGreedy(begin=1, end=0), AttentionBeam(begin=1, end=0, beam_size=1)):
        with pytest.raises(ValueError, match=r"log-probabilities expected of the step .* got 2 after 0 tokens"):
            search(table_step(np.full((3, 3), 2.0)), (), batch=1, max_lengths=2)
        with pytest.raises(ValueError, match="got nan"):
            search(table_step(np.full((3, 3), np.nan)), (), batch=1, max_lengths=2)
        with pytest.raises(ValueError, match=r"\(2, V\) with V > end = 0 expected of the step, got shape \(1, 3\)"):
            search(lambda tokens, state: (table[:1], state), (), batch=2, max_lengths=2)
        with pytest.raises(
            ValueError, match="log-probabilities of the step: numbers of float32 or float64 .* got int64"
        ):
            search(table_step(np.zeros((3, 3), dtype=np.int64)), (), batch=1, max_lengths=2)
        with pytest.raises(ValueError, match="log-probabilities, state and perhaps attention expected .* got ndarray"):
            search(lambda tokens, state: table[tokens], (), batch=1, max_lengths=2)
        with pytest.raises(ValueError, match="got 1 values"):
            search(lambda tokens, state: (table[tokens],), (), batch=1, max_lengths=2)
    with pytest.raises(ValueError, match="V > end = 3"):
        AttentionGreedy(begin=1, end=3)(table_step(table), (), batch=1, max_lengths=2)
    with pytest.raises(ValueError, match="V = 3 log-probabilities expected, got 1 pieces"):
        AttentionGreedy(begin=1, end=0, vocabulary=Vocabulary(("a",)))(table_step(table), (), batch=1, max_lengths=2)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"begin": -1}, "begin"),
        ({"end": 1.0}, "end"),
        ({"beam_size": 0}, "beam_size"),
        ({"n_best": 3}, "n_best"),
        ({"min_length": -1}, "min_length"),
        ({"length_norm": "wu"}, "none, gnmt, power"),
        ({"length_norm": "gnmt", "length_penalty": -1.0}, "length_penalty"),
        ({"length_penalty": 0.6}, "choose gnmt or power"),
        ({"length_penalty": np.nan, "length_norm": "gnmt"}, "length_penalty"),
        ({"coverage_penalty": -1.0}, "coverage_penalty"),
        ({"min_length_ratio": -0.1}, "min_length_ratio"),
        ({"max_length_ratio": "1"}, "max_length_ratio"),
        ({"end_threshold": 0.0}, "end_threshold"),
        ({"patience": 0.0}, "patience"),
        ({"ctc_weight": 1.1}, "ctc_weight"),
        ({"blank": -1}, "blank"),
        ({"lm_level": "sentence"}, "word, token"),
        ({"lm_weight": -0.1}, "lm_weight"),
        ({"word_bonus": 101.0}, "word_bonus"),
        ({"unknown_log_prob": 1.0}, "unknown_log_prob"),
    ],
)
def test_wrong_options_are_refused(options, name) -> None:
    with pytest.raises(ValueError, match=name):
        AttentionBeam(**({"begin": 1, "end": 0, "beam_size": 2} | options))


@pytest.mark.parametrize(
    ("batch", "max_lengths", "name"),
    [
        (0, 3, "batch"),
        (2, [3], "one integer or 2"),
        (1, 2.5, "float64"),
        (1, -1, "max_lengths must be at least 0, got -1"),
        (1, 0, "= 1"),
    ],
)
def test_wrong_lengths_are_refused(batch, max_lengths, name) -> None:
    search = AttentionGreedy(begin=1, end=0, min_length=1 if name == "= 1" else 0)
    with pytest.raises(ValueError, match=name):
        search(table_step(np.zeros((3, 3))), (), batch=batch, max_lengths=max_lengths)


def test_lengths_are_bounded_by_the_frames_of_the_memory() -> None:
    table = log_table([1, 0, 0], [0.5, 0, 0.5], [0.5, 0, 0.5])  # shorter is always better
    for search in (AttentionGreedy, AttentionBeam):
        options = {"begin": BEGIN, "end": END} | ({"beam_size": 2} if search is AttentionBeam else {})
        shortest = search(**options, min_length_ratio=0.5)
        found = shortest(table_step(table), (), batch=3, max_lengths=9, memory_lengths=[0, 5, 8])
        assert [len(hs[0].tokens) for hs in found] == [0, 2, 4]
        long = log_table([1, 0, 0], [0.1, 0, 0.9], [0.1, 0, 0.9])
        longest = search(**options, max_length_ratio=0.5, min_length=1)
        if search is AttentionBeam:
            longest = search(**options, max_length_ratio=0.5, min_length=1, length_norm="power", length_penalty=2.0)
        found = longest(table_step(long), (), batch=3, memory_lengths=[1, 5, 8])
        assert [len(hs[0].tokens) for hs in found] == [1, 3, 4]
        found = longest(table_step(long), (), batch=3, memory_lengths=8, max_lengths=[1, 2, 9])
        assert [len(hs[0].tokens) for hs in found] == [1, 2, 4]
        with pytest.raises(ValueError, match="are of the memory's frames: give memory_lengths"):
            longest(table_step(table), (), batch=1, max_lengths=3)
        with pytest.raises(ValueError, match="nothing bounds the tokens: give max_lengths"):
            search(**options)(table_step(table), (), batch=1)
        with pytest.raises(ValueError, match=r"at least min_length = 4, got 3 \(utterance 1\)"):
            shortest(table_step(table), (), batch=2, max_lengths=3, memory_lengths=[1, 8])
        with pytest.raises(ValueError, match="memory_lengths must be one integer or 2"):
            shortest(table_step(table), (), batch=2, max_lengths=3, memory_lengths=[1, 8, 3])


def test_the_end_must_be_likely_beside_the_others() -> None:
    # p(end) = 0.5 at first, 0.1 after token 3, where the others are 0.3 and 0.6.
    table = log_table([1, 0, 0, 0], [0.5, 0, 0.1, 0.4], [1, 0, 0, 0], [0.1, 0, 0.3, 0.6])
    for search in (AttentionGreedy, AttentionBeam):
        options = {"begin": BEGIN, "end": END} | ({"beam_size": 3} if search is AttentionBeam else {})
        (best,) = search(**options)(table_step(table), (), batch=1, max_lengths=2)[0]
        assert best.tokens == ()
        # ln 0.5 > 0.8 ln 0.4; not > 0.7 ln 0.4
        assert search(**options, end_threshold=0.8)(table_step(table), (), batch=1, max_lengths=2)[0][0].tokens == ()
        (best,) = search(**options, end_threshold=0.7)(table_step(table), (), batch=1, max_lengths=2)[0]
        assert best.tokens == ((3, 3) if search is AttentionGreedy else (3, 2))
        assert best.finished  # at the greatest length the end is all there is


def test_patience_ends_the_search() -> None:
    table = log_table([1, 0, 0], [0.5, 0.1, 0.4], [0.3, 0.0, 0.7])
    steps = []

    def step(tokens, state):
        steps.append(len(tokens))
        return table[tokens], state

    def run(patience):
        steps.clear()
        options = {"beam_size": 2, "length_norm": "power", "length_penalty": 1.0, "patience": patience}
        (best,) = AttentionBeam(begin=BEGIN, end=END, **options)(step, (), batch=1, max_lengths=9)[0]
        return best.tokens, len(steps)

    assert run(None) == ((2,) * 9, 10)
    assert run(0.5) == ((), 1)  # one of two is finished
    assert run(1.0) == ((), 2)
    assert run(2.0)[1] == 4


class Attentive:
    """Attends to frame i at step i, with a weight of 3/4, and evenly to the others of T'; NaN in unused rows."""

    def __init__(self, table, frames):
        self.table, self.frames = table, frames

    def __call__(self, tokens, state):
        length = state["length"]
        attention = np.full((len(tokens), self.frames), 0.25 / (self.frames - 1), dtype=np.float32)
        attention[:, length] = 0.75
        return self.table[tokens], {"length": length + 1}, attention


@pytest.mark.parametrize("search", [AttentionGreedy, AttentionBeam])
def test_attention_is_that_of_the_tokens(search) -> None:
    options = {"begin": BEGIN, "end": END, "keep_attention": True}
    options |= {"beam_size": 3, "n_best": 3} if search is AttentionBeam else {}
    table = log_table([1, 0, 0, 0], [0.1, 0, 0.6, 0.3], [0.3, 0, 0.3, 0.4], [0.5, 0, 0.4, 0.1])
    step = Attentive(table, 5)
    found = search(**options)(step, {"length": 0}, batch=2, max_lengths=[4, 2], memory_lengths=[5, 3])
    for hypotheses, frames in zip(found, (5, 3), strict=True):
        for hypothesis in hypotheses:
            assert hypothesis.attention.shape == (len(hypothesis.tokens), frames)
            expected = np.full((len(hypothesis.tokens), frames), 0.0625)
            np.fill_diagonal(expected, 0.75)
            assert np.allclose(hypothesis.attention, expected)
    plain = search(**(options | {"keep_attention": False}))(step, {"length": 0}, batch=2, max_lengths=[4, 2])
    assert plain == found
    assert plain[0][0].attention is None
    empty = search(**options)(step, {"length": 0}, batch=1, max_lengths=0)
    assert empty[0][0].attention.shape == (0, 5)


def test_attention_follows_its_beam() -> None:
    """Attention that spells the tokens so far shows at once if a row is another hypothesis's."""

    def step(tokens, state):
        rng = np.random.default_rng(len(state["rows"][0]))
        logits = rng.normal(0, 1, (5, 5))[tokens]
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        rows = np.concatenate([state["rows"], tokens[:, None]], axis=1)
        attention = np.zeros((len(tokens), 12))
        attention[:, : rows.shape[1]] = rows
        return log_probs, {"rows": rows}, attention

    search = AttentionBeam(begin=BEGIN, end=END, beam_size=6, n_best=6, keep_attention=True)
    for hypothesis in search(step, {"rows": np.zeros((12, 0))}, batch=2, max_lengths=8)[1]:
        for u in range(len(hypothesis.tokens)):
            heard = (BEGIN, *hypothesis.tokens)[: u + 1]
            assert hypothesis.attention[u, : u + 1].tolist() == list(heard)


def test_coverage_counts_the_frames_of_the_memory_only() -> None:
    table = log_table([1, 0, 0], [0.5, 0, 0.5], [1, 0, 0])
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=2, n_best=2, coverage_penalty=0.5)
    found = search(Attentive(table, 5), {"length": 0}, batch=2, max_lengths=1, memory_lengths=[5, 2])
    once, twice, rest = np.log(0.75), np.log(0.8125), np.log(0.0625)
    expected = {
        (0, ()): once + 4 * rest, (0, (2,)): 2 * twice + 3 * np.log(0.125), (1, ()): once + rest, (1, (2,)): 2 * twice
    }  # fmt: skip
    for b, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            assert hypothesis.bonus == pytest.approx(0.5 * expected[b, hypothesis.tokens], rel=1e-5)
            assert hypothesis.score == pytest.approx(np.log(0.5) + hypothesis.bonus)


def test_a_frame_without_attention_does_not_forbid_a_hypothesis() -> None:
    table = log_table([1, 0, 0], [0.5, 0, 0.5], [1, 0, 0])
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=2, coverage_penalty=1.0)
    step = lambda tokens, state: (table[tokens], state, np.zeros((len(tokens), 2)))  # noqa: E731
    ((best,),) = search(step, (), batch=1, max_lengths=1)
    assert best.bonus == pytest.approx(2 * np.log(1e-6))


@pytest.mark.parametrize("search", [AttentionGreedy, AttentionBeam])
def test_wrong_attention_is_refused(search) -> None:
    options = {"begin": BEGIN, "end": END, "keep_attention": True, "min_length": 2}
    options |= {"beam_size": 2} if search is AttentionBeam else {}
    table = log_table([0.5, 0, 0.5], [0.5, 0, 0.5], [0.1, 0, 0.9])

    def refused(attention, match, **call):
        shapes = iter(attention if isinstance(attention, list) else [attention] * 9)

        def step(tokens, state):
            return table[tokens], state, next(shapes)(len(tokens))

        with pytest.raises(ValueError, match=match):
            search(**options)(step, (), batch=1, **({"max_lengths": 3, **call}))

    refused(lambda n: np.zeros((n + 1, 3)), r"attention \([12], T'\) expected of the step, got shape \([23], 3\)")
    refused(lambda n: np.zeros(n), "got shape")
    refused(lambda n: np.zeros((n, 3), dtype=int), "attention of the step: numbers of float32 or float64 expected")
    refused(lambda n: np.full((n, 3), np.nan), "attention of finite weights expected")
    refused([lambda n: np.ones((n, 3)), lambda n: np.ones((n, 4))], "T' = 3 frames expected of the step, as before")
    refused(lambda n: np.ones((n, 3)), "the 5 frames of memory_lengths expected of the step, got 3", memory_lengths=5)
    with pytest.raises(ValueError, match="state and attention expected of the step, got no attention"):
        search(**options)(table_step(table), (), batch=1, max_lengths=3)
