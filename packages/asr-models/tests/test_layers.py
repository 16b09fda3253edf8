import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models.batch_norm import BatchNorm
from asr_models.layers import activate, dropout, uniform
from asr_models.lengths import frame_mask
from asr_models.norms import LayerNorm


@pytest.mark.parametrize("shape", [(3, 8, 4), (3, 8, 5, 4)])
def test_batch_norm_counts_real_frames_only(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype("f4") * 3 + 1
    lengths = [8, 2, 5]
    real = np.concatenate([values[b, :n].reshape(-1, 4) for b, n in enumerate(lengths)])
    layer = BatchNorm(4, epsilon=0.0)
    got = layer(tf.constant(values), frame_mask(lengths, 8), training=True).numpy()
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(got[b, :n], (values[b, :n] - real.mean(0)) / real.std(0), atol=1e-4)
        assert not got[b, n:].any()
    np.testing.assert_allclose(layer.mean, 0.05 * real.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.variance, 0.95 + 0.05 * real.var(0), rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 8, 4), (3, 8, 5, 4)])
def test_the_gradient_of_batch_norm_is_that_of_its_formula_on_real_frames(shape: tuple[int, ...]) -> None:
    rng, lengths, layer = np.random.default_rng(0), [8, 2, 5], BatchNorm(4)
    values = tf.constant(rng.normal(size=shape).astype("f4") * 3 + 1)
    weights = tf.constant(rng.normal(size=shape).astype("f4"))
    layer.scale.assign(rng.normal(size=4))
    layer.offset.assign(rng.normal(size=4))
    scale, offset = tf.constant(layer.scale), tf.constant(layer.offset)
    mask = frame_mask(lengths, 8)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(weights * tf.sin(layer(values, mask, training=True)))
    got = tape.gradient(loss, [values, layer.scale, layer.offset])
    with tf.GradientTape() as tape:
        tape.watch([values, scale, offset])
        real = tf.boolean_mask(values, mask > 0)
        axes = list(range(real.shape.rank - 1))
        mean, variance = tf.nn.moments(real, axes)
        outputs = (real - mean) / tf.sqrt(variance + layer.epsilon) * scale + offset
        loss = tf.reduce_sum(tf.boolean_mask(weights, mask > 0) * tf.sin(outputs))
    for one, other in zip(got, tape.gradient(loss, [values, scale, offset]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_layer_norm_of_a_frame() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f4") * 3 + 1
    got = LayerNorm(4, epsilon=0.0)(tf.constant(values), frame_mask([5, 2], 5)).numpy()
    expected = (values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True)
    np.testing.assert_allclose(got[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(got[1, :2], expected[1, :2], atol=1e-4)
    assert not got[1, 2:].any()


@pytest.mark.parametrize("layer", [BatchNorm, LayerNorm])
def test_what_stands_in_the_padding_reaches_neither_output_nor_gradient(layer) -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f4")
    found = []
    for noise in (0.0, np.nan):
        values[1, 2:] = noise
        made, x = layer(4), tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = made(x, frame_mask([5, 2], 5), training=True)
            loss = tf.reduce_sum(outputs**3)
        found.append([outputs, *tape.gradient(loss, [x, *made.trainable_variables]), *made.non_trainable_variables])
    for clean, noisy in zip(*found, strict=True):
        np.testing.assert_array_equal(clean, noisy)


def test_statistics_of_bfloat16_are_float32() -> None:
    values = tf.constant(np.random.default_rng(0).normal(size=(2, 700, 3)).astype("f4") + 1)
    exact, mask = BatchNorm(3), tf.ones([2, 700])
    expected = exact(values, mask, training=True)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        near = BatchNorm(3)
    finally:
        keras.config.set_dtype_policy(policy)
    got = near(values, mask, training=True)
    assert got.dtype == tf.bfloat16 and near.mean.dtype == "float32"
    np.testing.assert_allclose(near.mean, exact.mean, atol=1e-4)
    np.testing.assert_allclose(near.variance, exact.variance, atol=1e-3)
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, atol=0.03)


def test_batch_norm_of_a_batch_without_a_frame_is_finite() -> None:
    layer = BatchNorm(2)
    assert np.isfinite(layer(tf.ones([1, 3, 2]), tf.zeros([1, 3]), training=True)).all()
    assert np.isfinite(layer.variance).all()


def test_dropout_is_a_function_of_its_seed_and_place() -> None:
    values, seed = tf.ones([40, 50]), tf.constant([1, 2])
    first = dropout(values, 0.3, seed, 0, training=True).numpy()
    assert np.array_equal(first, dropout(values, 0.3, seed, 0, training=True))
    assert np.array_equal(first, tf.function(lambda: dropout(values, 0.3, seed, 0, training=True), autograph=False)())
    assert not np.array_equal(first, dropout(values, 0.3, seed, 1, training=True))
    assert abs((first == 0).mean() - 0.3) < 0.05 and abs(first.mean() - 1) < 0.05
    assert np.array_equal(first, tf.function(lambda: dropout(values, 0.3, seed, 0, training=True), jit_compile=True)())
    np.testing.assert_allclose(np.unique(first), [0, 1 / 0.7], rtol=1e-5)
    assert dropout(values, 0.3, None, 0, training=False) is values


@pytest.mark.parametrize("rate", [1e-3, 0.5, 0.999])
def test_dropout_drops_as_many_as_it_should(rate: float) -> None:
    outputs = dropout(tf.ones([1000, 999]), rate, tf.constant([3, 4]), 0, training=True).numpy()
    deviation = (rate * (1 - rate) / 1e6) ** 0.5
    assert abs((outputs == 0).mean() - rate) < 5 * deviation + 2**-17
    assert abs(outputs.mean() - 1) < 5 * deviation / (1 - rate)


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_dropout_at_the_ends_of_its_rates_is_finite(rate: float) -> None:
    outputs = dropout(tf.ones([100, 7]), rate, tf.constant([3, 4]), 0, training=True).numpy()
    assert np.isfinite(outputs).all() and (outputs == 0).mean() == pytest.approx(rate, abs=1e-2)


def test_neighbours_are_dropped_independently() -> None:
    seeds = tf.reshape(tf.range(600), [300, 2])
    kept = dropout(tf.ones([300, 20, 50]), 0.5, seeds, 0, training=True).numpy() > 0
    other = dropout(tf.ones([300, 20, 50]), 0.5, seeds, 1, training=True).numpy() > 0
    pairs = [(kept[..., 1:], kept[..., :-1]), (kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1]), (kept, other)]
    for one, two in pairs:
        assert abs((one == two).mean() - 0.5) < 5 * 0.5 / one.size**0.5


@pytest.mark.parametrize("units", [6, 7])
def test_the_padding_behind_a_row_changes_no_mask(units: int) -> None:
    seeds = tf.constant([[1, 2], [3, 4]])
    short, long = (dropout(tf.ones([2, n, units]), 0.5, seeds, 0, training=True).numpy() for n in (5, 9))
    np.testing.assert_array_equal(short, long[:, :5])
    np.testing.assert_array_equal(short[1:], dropout(tf.ones([1, 5, units]), 0.5, seeds[1:], 0, training=True))


def test_what_is_known_of_a_shape_is_known_after_dropout() -> None:
    @tf.function(input_signature=[tf.TensorSpec([2, None, 6]), tf.TensorSpec([2, 2], tf.int32)])
    def shape_of(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        assert dropout(values, 0.5, seed, 0, training=True).shape.as_list() == [2, None, 6]
        known = dropout(values[:, :3], 0.5, seed, 0, training=True)
        return tf.shape(known)

    assert shape_of(tf.ones([2, 5, 6]), tf.ones([2, 2], tf.int32)).numpy().tolist() == [2, 3, 6]


@pytest.mark.parametrize("kind", ["none", "relu", "clipped-relu"])
def test_activations_and_their_gradients(kind: str) -> None:
    values = tf.constant([-3.0, -1e-3, 1e-3, 1.0, 19.99, 20.0, 25.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = activate(values, kind)
    low, high = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "clipped-relu": (0, 20)}[kind]
    np.testing.assert_array_equal(outputs, np.clip(values, low, high))
    np.testing.assert_array_equal(tape.gradient(outputs, values), (low < values.numpy()) & (values.numpy() < high))


@pytest.mark.parametrize("activation", ["none", "relu", "clipped-relu"])
def test_batch_norm_is_the_same_compiled(activation: str) -> None:
    rng, layer = np.random.default_rng(0), BatchNorm(4)
    values, mask = tf.constant(rng.normal(size=(3, 8, 5, 4)).astype("f4") * 9), frame_mask([8, 2, 5], 8)
    layer.scale.assign(rng.normal(size=4) * 9)
    weights = tf.constant(rng.normal(size=values.shape).astype("f4"))

    def step(values: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = layer(values, mask, training=True, activation=activation)
            loss = tf.reduce_sum(outputs * weights)
        return [outputs, *tape.gradient(loss, [values, layer.scale, layer.offset])]

    known = tf.function(step, autograph=False)  # XLA compiles the layer alone where shapes are known
    unknown = tf.function(step, input_signature=[tf.TensorSpec([None, None, None, 4])], autograph=False)
    whole = tf.function(step, autograph=False, jit_compile=True)
    operations = known.get_concrete_function(values).graph.get_operations()
    assert any("_XlaMustCompile" in operation.node_def.attr for operation in operations)
    expected = step(values)
    for got in (known(values), unknown(values), whole(values)):
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_uniform_numbers_are_uniform() -> None:
    drawn = np.sort(uniform([100_000], tf.constant([5, 6]), 0).numpy())
    assert drawn[0] >= 0 and drawn[-1] < 1
    assert np.abs(drawn - np.linspace(0, 1, 100_000)).max() < 0.006  # Kolmogorov and Smirnov's, once in 1500 seeds


def test_training_without_a_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="expected seed"):
        dropout(tf.ones([2]), 0.3, None, 0, training=True)
