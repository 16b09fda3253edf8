"""Attention against the formulas, and the speller's ways of hearing its own guesses."""

import numpy as np
import pytest
import tensorflow as tf

from asr_models import Encoded, Las, LasConfig
from asr_models.attention import AdditiveAttention, DotAttention, LocationAttention, MultiHeadAttention

B, BEAMS, T, D, Q, A = 2, 3, 5, 4, 6, 8
LENGTHS = [5, 3]
FEATURES, VOCAB = 5, 9


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def parts(layer):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(B, T, D)).astype("f4")
    query = rng.normal(size=(B * BEAMS, Q)).astype("f4")
    previous = rng.dirichlet(np.ones(T), B * BEAMS).astype("f4")
    memory = layer.memory(tf.constant(values), tf.sequence_mask(LENGTHS, T))
    context, alignment = layer(tf.constant(query), memory, tf.constant(previous))
    return values, query, previous, context.numpy(), alignment.numpy()


def array(dense) -> np.ndarray:
    return np.asarray(dense.kernel)


@pytest.mark.parametrize("kind", ["dot", "additive", "location"])
def test_attention_is_its_formula_for_each_hypothesis(kind: str) -> None:
    rng = np.random.default_rng(1)
    if kind == "location":
        layer = LocationAttention(Q, D, A, channels=2, width=3, rng=rng, name="a")
    else:
        layer = {"dot": DotAttention, "additive": AdditiveAttention}[kind](Q, D, A, rng=rng, name="a")
    values, query, previous, context, alignment = parts(layer)
    for n in range(B * BEAMS):
        heard = values[n // BEAMS, : LENGTHS[n // BEAMS]]
        q, keys = query[n] @ array(layer.query), heard @ array(layer.key)
        if kind == "dot":
            scores = keys @ q / np.sqrt(A)
        else:
            hidden = keys + q + np.asarray(layer.query.bias)
            if kind == "location":
                around = np.pad(previous[n], 1)
                filters = np.asarray(layer.filters)[:, 0]
                located = np.stack([around[t : t + 3] @ filters for t in range(len(heard))])
                hidden = hidden + located @ array(layer.location)
            scores = np.tanh(hidden) @ array(layer.score)[:, 0]
        expected = softmax(scores)
        np.testing.assert_allclose(alignment[n, : len(heard)], expected, atol=1e-6)
        assert not alignment[n, len(heard) :].any()
        np.testing.assert_allclose(context[n], expected @ heard, atol=1e-6)


@pytest.mark.parametrize("width", [1, 3, 31, 33, 51])
@pytest.mark.parametrize("frames", [1, 31, 32, 33, 70])
def test_location_attention_looks_at_the_frames_around_each_however_many_there_are(frames: int, width: int) -> None:
    rng = np.random.default_rng(width)
    layer = LocationAttention(Q, D, A, channels=2, width=width, rng=rng, name="a")
    values = tf.constant(rng.normal(size=(2, frames, D)), tf.float32)
    query, previous = (tf.constant(rng.random((2, n)), tf.float32) for n in (Q, frames))
    weigh = rng.random((2, frames))
    memory = layer.memory(values, tf.fill([2, frames], True))

    def convolved() -> tf.Tensor:
        around = tf.pad(previous, [[0, 0], [width // 2, width // 2]])[..., None]
        located = layer.location(tf.nn.conv1d(around, tf.convert_to_tensor(layer.filters), 1, "VALID"))
        return tf.nn.softmax(layer.score(tf.tanh(located + memory.keys + layer.query(query)[:, None]))[..., 0])

    found = []
    for attend in (lambda: layer(query, memory, previous)[1], convolved):
        with tf.GradientTape() as tape:
            tape.watch(previous)
            alignment = attend()
            target = tf.reduce_sum(alignment * weigh)
        weights = [layer.filters, layer.location.kernel, layer.query.kernel]
        found.append([alignment, *tape.gradient(target, [previous, *(weight.value for weight in weights)])])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_multi_head_attention_is_dot_attention_in_each_head() -> None:
    layer = MultiHeadAttention(Q, D, A, heads=2, rng=np.random.default_rng(1), name="a")
    values, query, _, context, alignment = parts(layer)
    for n in range(B * BEAMS):
        heard = values[n // BEAMS, : LENGTHS[n // BEAMS]]
        q, keys, spoken = query[n] @ array(layer.query), heard @ array(layer.key), heard @ array(layer.value)
        weights, heads = [], []
        for head in (slice(0, 4), slice(4, 8)):
            weights.append(softmax(keys[:, head] @ q[head] / 2))
            heads.append(weights[-1] @ spoken[:, head])
        np.testing.assert_allclose(alignment[n, : len(heard)], np.mean(weights, 0), atol=1e-6)
        np.testing.assert_allclose(context[n], np.concatenate(heads) @ array(layer.output_layer), atol=1e-6)


def las(**changes) -> Las:
    options = {"listener_layers": 2, "listener_units": 6, "speller_units": 7, "embedding_units": 5}
    options |= {"attention_units": 8, "location_width": 5, "dropout": 0.0, "sampling": 0.0}
    return Las(LasConfig(**(options | changes)), features=FEATURES, vocab_size=VOCAB)


def speech(rows: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(rows, 16, FEATURES)).astype("f4") * 3
    return features, rng.integers(5, 17, rows), rng.integers(0, VOCAB, (rows, 6))


def test_an_utterance_without_a_frame_is_finite() -> None:
    for attention in ("location", "dot", "additive", "multi-head"):
        model = las(attention=attention, start_from_memory=True)
        memory = Encoded(tf.zeros([1, 3, model.listener.width]), tf.constant([0]))
        assert np.isfinite(model.speller(memory, tf.constant([[2, 3]]))).all()
        assert not model.alignments(memory, tf.constant([[2, 3]])).numpy().any()


@pytest.mark.parametrize("per", ["token", "utterance", "batch"])
def test_sampling_everything_is_greedy_search(per: str) -> None:
    features, lengths, tokens = speech()
    model = las(sampling=1.0, sampling_per=per)
    seed = tf.constant([1, 1])
    told = model(features, lengths, tokens, training=True, seed=seed).numpy()
    state, token = model.start(model.listen(features, lengths)), tokens[:, 0]
    for u in range(tokens.shape[1]):
        log_probs, state = model.step(token, state)
        np.testing.assert_allclose(tf.nn.log_softmax(told[:, u]), log_probs, atol=1e-5)
        token = log_probs.numpy().argmax(-1)


@pytest.mark.parametrize("per", ["token", "utterance", "batch"])
def test_sampling_replaces_what_is_drawn_for(per: str) -> None:
    """Rows of guesses, rows of true tokens, or all of one kind; and never outside of training."""
    features, lengths, tokens = speech(8)
    model, kinds = las(sampling=0.5, sampling_per=per), set()
    memory = model.listen(features, lengths)
    np.testing.assert_array_equal(model(features, lengths, tokens), las()(features, lengths, tokens))

    @tf.function(autograph=False)  # of any rate, as test_the_rate_of_sampling has it
    def run(rate: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return model.speller(memory, tokens, training=True, seed=seed, sampling=rate)

    for n in range(6):
        seed = tf.constant([n, 1])
        true, own, got = (run(tf.constant(rate), seed).numpy() for rate in (0.0, 1.0, 0.5))
        if n == 0:  # the configuration's own rate
            np.testing.assert_allclose(model.speller(memory, tokens, training=True, seed=seed), got, atol=1e-5)
        np.testing.assert_array_equal(got[:, 0], true[:, 0])  # before the first step nothing was guessed
        like_true = np.abs(got - true).max((1, 2)) < 1e-6
        like_own = np.abs(got - own).max((1, 2)) < 1e-6
        kinds.add((like_true.all(), like_own.all()))
        if per == "utterance":
            assert (like_true | like_own).all()
        if per == "token":
            assert not (like_true | like_own).all()
    assert kinds == ({(True, False), (False, True)} if per == "batch" else {(False, False)})


def test_the_rate_of_sampling_may_be_a_tensor_that_grows() -> None:
    """One graph for all rates; 0 and 1 are the two ends, and None is the rate of the configuration."""
    features, lengths, tokens = speech(8)
    model, seed = las(sampling=1.0), tf.constant([1, 1])
    memory = model.listen(features, lengths)

    @tf.function(autograph=False)
    def run(rate: tf.Tensor) -> tf.Tensor:
        return model.speller(memory, tokens, training=True, seed=seed, sampling=rate)

    true, some, own = (run(tf.constant(rate)).numpy() for rate in (0.0, 0.5, 1.0))
    assert run.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(true, model(features, lengths, tokens), atol=1e-5)
    np.testing.assert_allclose(true, model(features, lengths, tokens, training=True, sampling=0.0), atol=1e-5)
    np.testing.assert_allclose(own, model(features, lengths, tokens, training=True, seed=seed), atol=1e-5)
    assert np.abs(some - true).max() > 1e-3 and np.abs(some - own).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "gru", "attention": "multi-head"},
        {"cell": "rnn", "input_feeding": False, "attention": "additive"},
        {"attend_first": True, "tied_output": True},
    ],
)
def test_the_gradient_that_training_makes_after_the_loop_is_that_of_each_step(changes: dict[str, object]) -> None:
    """Training leaves them to one product or sum for each weight; without it TensorFlow makes one a step."""
    features, lengths, tokens = speech()
    model = las(**changes)
    memory = model.listen(features, lengths)
    weights = [variable.value for variable in model.speller.trainable_variables]
    counts = tf.constant(np.random.default_rng(0).normal(size=(*tokens.shape, VOCAB)).astype("f4"))

    def gradients(tokens: tf.Tensor, training: bool) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(memory.values)
            total = tf.reduce_sum(model.speller(memory, tokens, training=training) * counts)
        return tape.gradient(total, [*weights, memory.values])

    expected = gradients(tokens, False)
    of_any_shape = [tf.TensorSpec([None, None], tf.int64)]
    in_graph = tf.function(lambda each: gradients(each, True), autograph=False, input_signature=of_any_shape)
    for got in (gradients(tokens, True), in_graph(tokens)):
        for mine, theirs in zip(got, expected, strict=True):
            theirs = tf.convert_to_tensor(theirs)
            assert np.abs(theirs).max() > 1e-4
            np.testing.assert_allclose(tf.convert_to_tensor(mine), theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["eager", "graph", "graph of any shape", "XLA"])
def test_nothing_is_spelled_behind_the_longest_text(kind: str) -> None:
    """Up to there logits and gradients are those of all steps; behind, no step has written anything."""
    features, lengths, tokens = speech()
    model, texts = las(speller_layers=2, sampling=0.3), tf.constant([2, 4, 1, 3])
    real = tf.sequence_mask(texts, tokens.shape[1], tf.float32)[..., None]
    counts = tf.constant(np.random.default_rng(0).normal(size=(*tokens.shape, VOCAB)).astype("f4")) * real

    def run(tokens: tf.Tensor, token_lengths: tf.Tensor | None) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(
                features, lengths, tokens, training=True, seed=tf.constant([1, 2]), token_lengths=token_lengths
            )
            total = tf.reduce_sum(tf.sin(logits) * counts)
        return [logits, *map(tf.convert_to_tensor, tape.gradient(total, model.trainable_variables))]

    signature = [tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None], tf.int32)]
    spell = {
        "eager": run,
        "graph": tf.function(run, autograph=False),
        "graph of any shape": tf.function(run, autograph=False, input_signature=signature),
        "XLA": tf.function(run, autograph=False, jit_compile=True),
    }[kind]
    (all_logits, *all_gradients), (logits, *gradients) = run(tokens, None), spell(tf.constant(tokens), texts)
    np.testing.assert_allclose(logits[:, :4], all_logits[:, :4], atol=1e-5)
    unspelled = np.broadcast_to(model.speller.output_layer.bias, logits[:, 4:].shape)
    np.testing.assert_array_equal(logits[:, 4:], unspelled)
    assert np.abs(all_logits[:, 4:] - unspelled).max() > 1e-2
    for mine, theirs in zip(gradients, all_gradients, strict=True):
        assert np.abs(theirs).max() > 1e-5
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_alignments_are_those_of_the_steps_and_sum_to_one() -> None:
    features, lengths, tokens = speech()
    model = las(attention="multi-head")
    memory = model.listen(features, lengths)
    alignments = model.alignments(memory, tokens).numpy()
    np.testing.assert_allclose(alignments.sum(-1), 1, atol=1e-6)
    state = model.start(memory)
    for u in range(tokens.shape[1]):
        _, state = model.step(tokens[:, u], state)
        np.testing.assert_allclose(state.alignment, alignments[:, u], atol=1e-6)


def test_tied_output_is_the_embedding() -> None:
    model = las(tied_output=True)
    spoken = np.random.default_rng(0).normal(size=(3, model.speller.spoken_units)).astype("f4")
    layer, embedding = model.speller.output_layer, np.asarray(model.speller.embedding)
    expected = (spoken @ array(layer) + np.asarray(layer.bias)) @ embedding.T
    np.testing.assert_allclose(model.speller.logits(tf.constant(spoken)), expected, atol=1e-5)


def test_attention_first_asks_with_the_state_before() -> None:
    """The first alignment cannot depend on the first token then; otherwise it does."""
    features, lengths, _ = speech()
    for first in (True, False):
        model = las(attend_first=first, start_from_memory=True)
        memory = model.listen(features, lengths)
        seen = [model.step(np.full(4, token), model.start(memory))[1].alignment.numpy() for token in (1, 2)]
        assert np.array_equal(*seen) == first
