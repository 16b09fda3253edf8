"""The search in a graph against the search in numpy, in eager mode, as a function, and compiled by XLA."""

import warnings
from itertools import chain

import numpy as np
import pytest

from asr_decoders import AttentionBeam, AttentionGreedy, CtcBeam, Vocabulary, repeat
from asr_decoders.ensemble import Scorer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    tf = pytest.importorskip("tensorflow")

from asr_decoders.tf import in_graph

BEGIN, END = 1, 0
MODES = ["eager", "function", "xla"]


class Model:
    """A recurrent model in float32 with a memory shared by the beams, as a step function of tensors."""

    def __init__(self, seed, size, dim=6):
        rng = np.random.default_rng(seed)
        self.input, self.output = rng.normal(0, 2, (size, dim)), rng.normal(0, 1.5, (dim, size))
        self.recurrent, self.bias = rng.normal(0, 0.7, (dim, dim)), np.eye(size)[END] * rng.uniform(-1, 2)
        self.input, self.output, self.recurrent, self.bias = (
            values.astype(np.float32) for values in (self.input, self.output, self.recurrent, self.bias)
        )
        self.dim = dim

    def start(self, seed, batch, beam_size):
        memory = np.random.default_rng(seed).normal(0, 1, (batch, 3, self.dim)).astype(np.float32)
        hidden = np.zeros((batch * beam_size, self.dim), dtype=np.float32)
        return {"memory": tf.constant(memory), "rest": [(tf.constant(hidden), None), 0, "kept", True]}

    def __call__(self, tokens, state):
        (hidden, nothing), length, kept, true = state["rest"]
        assert (nothing, kept, true) == (None, "kept", True)
        memory = state["memory"]
        context = tf.repeat(tf.reduce_mean(memory, 1), hidden.shape[0] // memory.shape[0], axis=0)
        values = tf.tanh(hidden @ self.recurrent + tf.gather(self.input, tokens) + context)
        log_probs = tf.nn.log_softmax(values @ self.output + self.bias)
        return log_probs, {"memory": memory, "rest": [(values, None), length + 1, "kept", True]}


def run(search, model, state, mode, **call):
    graph = in_graph(search)
    function = lambda: graph(model, state, **call)  # noqa: E731
    if mode != "eager":
        function = tf.function(function, jit_compile=mode == "xla", autograph=False)
    return graph.hypotheses(function())


def assert_same(found, expected):
    assert [[h.tokens for h in hs] for hs in found] == [[h.tokens for h in hs] for hs in expected]
    for left, right in zip(chain(*found), chain(*expected), strict=True):
        assert left.score == pytest.approx(right.score, abs=1e-4)
        assert left.acoustic == pytest.approx(right.acoustic, abs=1e-4)
        assert left.language == pytest.approx(right.language, abs=1e-4)
        assert (left.finished, left.text) == (right.finished, right.text)


# Options of the search, and whether another model is fused with the first.
OPTIONS = [
    ({"beam_size": 1}, True),
    ({"beam_size": 4, "n_best": 4}, False),
    ({"beam_size": 3, "n_best": 2, "length_norm": "gnmt", "length_penalty": 0.6, "min_length": 2}, True),
    ({"beam_size": 6, "n_best": 3, "length_norm": "power", "length_penalty": 1.0, "max_length_ratio": 0.5}, False),
    ({"beam_size": 5, "n_best": 5, "end_threshold": 0.9, "min_length_ratio": 0.2, "patience": 1.0}, True),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("options", "fused"), OPTIONS)
def test_a_graph_finds_the_same(options, fused, mode) -> None:
    search = AttentionBeam(begin=BEGIN, end=END, **options)
    for seed, size, batch in [(0, 40, 3), (1, 5, 2)] if mode != "xla" else [(2, 40, 3)]:
        model, neural = Model(seed, size), Model(seed + 10, size)
        state = model.start(seed, batch, search.beam_size)
        scorers = [Scorer(neural, neural.start(seed, batch, search.beam_size), 0.4)] if fused else []
        frames, limits = np.array([20, 9, 13])[:batch], np.array([9, 12, 4])[:batch]
        call = {"batch": batch, "memory_lengths": frames, "max_lengths": limits, "scorers": scorers}
        expected = search(model, state, **call)
        assert_same(run(search, model, state, mode, longest=12, **call), expected)


@pytest.mark.parametrize("mode", MODES)
def test_greedy_finds_the_same(mode) -> None:
    vocabulary = Vocabulary(tuple("-^abcdefgh"), special=(0, 1))
    search = AttentionGreedy(begin=BEGIN, end=END, min_length=1, vocabulary=vocabulary)
    for seed in range(1 if mode == "xla" else 5):
        model = Model(seed, 10)
        state = model.start(seed, 3, 1)
        expected = search(model, state, batch=3, max_lengths=[8, 3, 1])
        assert_same(run(search, model, state, mode, batch=3, max_lengths=[8, 3, 1], longest=8), expected)


def test_many_toys_find_the_same() -> None:
    """One function for all, so that it is traced once."""
    size, batch, beam_size = 12, 4, 4
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=beam_size, n_best=3, length_norm="gnmt", length_penalty=1.0)
    graph, model = in_graph(search), Model(0, size)

    def step(tokens, state):
        log_probs, after = model(tokens, state["model"])
        log_probs = tf.nn.log_softmax(log_probs + tf.gather(state["bias"], tokens))
        return log_probs, {"model": after, "bias": state["bias"]}

    @tf.function(autograph=False)
    def function(memory, bias, limits):
        state = model.start(0, batch, beam_size) | {"memory": memory}
        return graph(step, {"model": state, "bias": bias}, batch=batch, longest=10, max_lengths=limits)

    for seed in range(40):
        rng = np.random.default_rng(seed)
        bias = tf.constant(rng.normal(0, 2, (size, size)), tf.float32)
        state = model.start(seed, batch, beam_size)
        limits = rng.integers(0, 11, batch).astype(np.int32)
        expected = search(step, {"model": state, "bias": bias}, batch=batch, max_lengths=limits)
        found = graph.hypotheses(function(state["memory"], bias, tf.constant(limits)))
        assert_same(found, expected)
        assert all(len({h.tokens for h in hs}) == len(hs) for hs in found)


@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_end_is_returned_unfinished(mode) -> None:
    with np.errstate(divide="ignore"):
        endless = tf.constant(np.log(np.array([[1, 0, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0.9, 0.1], [0, 0, 0, 0.0]])))
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=3, n_best=3)
    step = lambda tokens, state: (tf.gather(endless, tokens), state)  # noqa: E731
    expected = search(step, (), batch=2, max_lengths=[4, 0])
    assert not expected[0][0].finished
    assert_same(run(search, step, (), mode, batch=2, max_lengths=[4, 0], longest=4), expected)


def test_the_batch_may_be_a_tensor() -> None:
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=3, n_best=3)
    graph, table = in_graph(search), tf.nn.log_softmax(np.random.default_rng(0).normal(0, 2, (6, 6)))

    def step(tokens, state):
        return tf.gather(table, tokens) + 0 * state["shift"], {**state, "shift": state["shift"] * 1}

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float64), tf.TensorSpec([None, 7, 2])], autograph=False)
    def function(shift, memory):
        return graph(step, {"shift": shift, "memory": memory}, batch=tf.shape(memory)[0], longest=5)

    for batch in (1, 2, 4):
        state = {"shift": tf.zeros([batch * 3, 1], tf.float64), "memory": tf.zeros([batch, 7, 2])}
        expected = search(step, state, batch=batch, max_lengths=5)
        assert_same(graph.hypotheses(function(state["shift"], state["memory"])), expected)


def test_half_precision_is_searched_in_single() -> None:
    table = tf.cast(tf.nn.log_softmax(np.random.default_rng(0).normal(0, 2, (9, 9))), tf.bfloat16)
    step = lambda tokens, state: (tf.gather(table, tokens), state)  # noqa: E731
    search = AttentionBeam(begin=BEGIN, end=END, beam_size=3, n_best=3)
    assert_same(
        run(search, step, (), "function", batch=1, longest=5), search(step, repeat((), 3), batch=1, max_lengths=5)
    )


def test_options_that_a_graph_has_not_are_refused() -> None:
    words = Vocabulary(("a", "b"))
    for options in [{"ctc_weight": 0.3}, {"hotwords": {"a": 1.0}}, {"coverage_penalty": 0.1}, {"keep_attention": True}]:
        search = AttentionBeam(begin=BEGIN, end=END, beam_size=2, vocabulary=words, **options)
        with pytest.raises(ValueError, match=f"expected for a graph, got one with {next(iter(options))}$"):
            in_graph(search)
    with pytest.raises(ValueError, match="got one with keep_attention"):
        in_graph(AttentionGreedy(begin=BEGIN, end=END, keep_attention=True))
    with pytest.raises(ValueError, match="AttentionBeam or AttentionGreedy expected, got CtcBeam"):
        in_graph(CtcBeam())


def test_wrong_steps_are_refused() -> None:
    table = tf.fill([3, 3], -np.float32(np.log(3)))
    good = lambda tokens, state: (tf.gather(table, tokens), state)  # noqa: E731
    graph = in_graph(AttentionBeam(begin=1, end=0, beam_size=2))
    call = {"batch": 1, "longest": 2}
    for step, state, more, message in [
        (lambda tokens, state: (table[:1], state), (), {}, r"\(2, V\) expected of the step, got shape \(1, 3\)"),
        (lambda tokens, state: table, (), {}, "log-probabilities and state expected of the step"),
        (lambda tokens, state: (tf.zeros([2, 3], tf.int32), state), (), {}, "got int32"),
        (lambda tokens, state: (tf.gather(table, tokens), ()), {"a": tf.zeros(2)}, {}, "must keep its structure"),
        (
            lambda tokens, state: (tf.gather(table, tokens), {"a": tf.zeros([2, 2])}),
            {"a": tf.zeros(2)},
            {},
            r"float32 \(2,\) became float32 \(2, 2\)",
        ),
        (good, (), {"longest": -1}, "longest must be an integer of at least 0"),
        (good, (), {"batch": 0}, "batch must be an integer of at least 1"),
        (good, (), {"max_lengths": [1, 2]}, r"max_lengths must be one integer or 1, got int32 of shape \(2,\)"),
        (good, (), {"max_lengths": 1.5}, "max_lengths must be one integer or 1, got float32"),
        (good, (), {"scorers": [Scorer(lambda t, s: (tf.zeros([2, 4]), s), (), 1.0)]}, "V = 3 .* of scorer 0, got 4"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            graph(step, state, **(call | more))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="are of the memory's frames"):
        in_graph(AttentionGreedy(begin=1, end=0, max_length_ratio=1.0))(good, (), **call)
    with pytest.raises(ValueError, match="V > end = 3"):
        in_graph(AttentionGreedy(begin=1, end=3))(good, (), **call)
    with pytest.raises(ValueError, match="V = 3 log-probabilities expected, got 1 pieces"):
        in_graph(AttentionGreedy(begin=1, end=0, vocabulary=Vocabulary(("a",))))(good, (), **call)


@pytest.mark.parametrize(("mode", "value"), [("eager", np.nan), ("eager", 2.0), ("xla", np.nan)])
def test_what_are_no_log_probabilities_is_told(mode, value) -> None:
    table = np.full((3, 3), -np.log(3), dtype=np.float32)
    table[2, 1] = value
    search = AttentionBeam(begin=1, end=0, beam_size=2, n_best=2)
    step = lambda tokens, state: (tf.gather(table, tokens), state)  # noqa: E731
    assert run(search, step, (), mode, batch=1, longest=0)[0][0].finished
    with pytest.raises(ValueError, match="log-probabilities expected of the step .* for utterance 1: apply"):
        run(search, step, (), mode, batch=2, max_lengths=[0, 3], longest=3)


def test_a_state_that_grows_is_refused() -> None:
    table = tf.fill([3, 3], -np.float32(np.log(3)))
    step = lambda tokens, state: (tf.gather(table, tokens), tf.concat([state, state], 1))  # noqa: E731
    graph = in_graph(AttentionBeam(begin=1, end=0, beam_size=2))
    with pytest.raises(ValueError, match=r"float32 \(2, 1\) became float32 \(2, 2\)"):
        graph(step, tf.zeros([2, 1]), batch=1, longest=3)
