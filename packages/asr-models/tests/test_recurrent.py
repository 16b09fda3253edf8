"""The recurrent layers against plain numpy loops and against Keras; padding, states, precision, compilation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models.cells import GruCell, LstmCell, RnnCell
from asr_models.keras_weights import from_keras, to_keras
from asr_models.loops import scan
from asr_models.recurrent import Lstm, Recurrent, lstm_cell, recurrent

LENGTHS = np.array([7, 1, 4])
B, T, D, H = 3, 9, 6, 5
CELLS = [
    LstmCell(),
    LstmCell(layer_norm=True),
    LstmCell(projection=3),
    LstmCell(layer_norm=True, projection=3),
    GruCell(),
    GruCell(reset_after=False),
    GruCell(layer_norm=True),
    RnnCell(),
    RnnCell(activation="relu"),
    RnnCell(activation="clipped-relu", layer_norm=True),
]


def name_of(cell) -> str:
    options = (f"{key}={value}" for key, value in vars(cell).items() if value)
    return f"{type(cell).__name__}({','.join(options)})"


every_cell = pytest.mark.parametrize("cell", CELLS, ids=name_of)


def layer_of(cell, **options) -> Recurrent:
    """A layer whose every weight is random: gains and biases too."""
    rng = np.random.default_rng(3)
    layer = Recurrent(D, H, cell=cell, rng=rng, **options)
    for variable in layer.weights:
        variable.assign(np.asarray(variable) + 0.3 * rng.normal(size=variable.shape))
    return layer


def speech(seed: int = 0, frames: int = T) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, frames, D)).astype("f4")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def numpy_loop(cell, w, x, state):
    """One utterance `(T, D)`, one step after the other: `(T, H)` and the state."""
    w = {name: np.asarray(value, np.float64) for name, value in w.items()}
    norm = normal if cell.layer_norm_ else (lambda x: x)
    outputs, (h, *rest) = [], state
    for frame in x:
        z = norm(frame @ w["kernel"]) * w.get("input_gain", 1) + w["bias"]
        a = norm(h @ w["recurrent"]) * w.get("recurrent_gain", 1) + w.get("recurrent_bias", 0)
        if cell.kind == "LstmCell":
            i, f, o, g = np.split(z + a, 4)
            rest = [sigmoid(f) * rest[0] + sigmoid(i) * np.tanh(g)]
            h = sigmoid(o) * np.tanh(norm(rest[0]) * w.get("cell_gain", 1) + w.get("cell_offset", 0))
            h = h @ w.get("projection", np.eye(len(h)))
        elif cell.kind == "GruCell":
            update, reset = np.split(sigmoid(z + a)[: 2 * H], 2)
            inner = reset * a[2 * H :] if cell.reset_after else (reset * h) @ w["recurrent"][:, 2 * H :]
            h = update * h + (1 - update) * np.tanh(z[2 * H :] + inner)
        else:
            act = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "clipped-relu": lambda x: np.clip(x, 0, 20)}
            h = act[cell.activation](z + a)
        outputs.append(h)
    return np.array(outputs), (h, *rest)


class Plain:
    """What numpy_loop asks of a cell."""

    def __init__(self, cell) -> None:
        self.kind, self.layer_norm_ = type(cell).__name__, cell.layer_norm if hasattr(cell, "layer_norm") else False
        self.reset_after = getattr(cell, "reset_after", True)
        self.activation = getattr(cell, "activation", "tanh")


@every_cell
@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_equals_a_plain_loop(cell, merge: str) -> None:
    layer, x = layer_of(cell, merge=merge), speech()
    rng = np.random.default_rng(5)
    initial = {
        direction: tuple(rng.normal(size=(B, width)).astype("f4") for width in cell.state_widths(H))
        for direction in ("forward", "backward")
    }
    got, last = layer(tf.constant(x), tf.constant(LENGTHS), initial=initial, return_state=True)
    assert got.shape == (B, T, layer.width)
    for b, length in enumerate(LENGTHS):
        found = []
        for direction, weights in layer.weights_of.items():
            turn = -1 if direction == "backward" else 1
            state = tuple(part[b] for part in initial[direction])
            outputs, state = numpy_loop(Plain(cell), weights, x[b, :length][::turn], state)
            found.append(outputs[::turn])
            for mine, plain in zip(last[direction], state, strict=True):
                np.testing.assert_allclose(mine[b], plain, atol=1e-5)
        expected = np.concatenate(found, -1) if merge == "concat" else sum(found)
        np.testing.assert_allclose(got[b, :length], expected, atol=1e-5)
        assert not got.numpy()[b, length:].any()


THEIRS = {
    "LSTM": (keras.layers.LSTM, {}),
    "LSTM without bias": (keras.layers.LSTM, {"use_bias": False}),
    "GRU": (keras.layers.GRU, {}),
    "GRU without bias": (keras.layers.GRU, {"use_bias": False}),
    "GRU, reset before": (keras.layers.GRU, {"reset_after": False}),
    "SimpleRNN": (keras.layers.SimpleRNN, {}),
    "SimpleRNN, relu": (keras.layers.SimpleRNN, {"activation": "relu"}),
}


def keras_pair(kind: str):
    layer, options = THEIRS[kind]
    pair, rng = [], np.random.default_rng(7)
    for backwards in (False, True):
        made = layer(H, return_sequences=True, go_backwards=backwards, **options)
        made.build((None, None, D))
        made.set_weights([0.4 * rng.normal(size=w.shape).astype("f4") for w in made.get_weights()])
        pair.append(made)
    return pair


@pytest.mark.parametrize("kind", THEIRS)
def test_equals_keras_with_its_weights_and_gradients(kind: str) -> None:
    theirs = keras_pair(kind)
    ours, x = from_keras(*theirs), tf.constant(speech())
    weights = tf.constant(np.random.default_rng(8).normal(size=(B, T, 2 * H)).astype("f4"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        mine = ours(x, tf.constant(LENGTHS))
        loss = tf.reduce_sum(mine * weights)
        expected_loss = 0.0
        for b, length in enumerate(LENGTHS):
            forward, backward = (layer(x[b : b + 1, :length]) for layer in theirs)
            expected = tf.concat([forward, backward[:, ::-1]], -1)
            np.testing.assert_allclose(mine[b : b + 1, :length], expected, atol=1e-5)
            expected_loss += tf.reduce_sum(expected * weights[b : b + 1, :length])
    np.testing.assert_allclose(tape.gradient(loss, x), tape.gradient(expected_loss, x), atol=1e-4)
    # The gradients as weights of a layer of the other kind, so that they stand in the same order.
    for layer in theirs:
        gradients = tape.gradient(expected_loss, layer.trainable_variables)
        layer.set_weights([np.asarray(gradient) for gradient in gradients])
    converted = from_keras(*theirs).weights_of
    for direction, named in ours.weights_of.items():
        for name, variable in named.items():
            if "bias" in name and "without bias" in kind:
                continue
            gradient = tape.gradient(loss, variable)
            assert np.abs(gradient).max() > 1e-2
            np.testing.assert_allclose(gradient, converted[direction][name], atol=1e-4, err_msg=f"{direction} {name}")


@pytest.mark.parametrize("kind", THEIRS)
def test_weights_go_to_keras_and_back(kind: str) -> None:
    ours = from_keras(*keras_pair(kind))
    forward, backward = to_keras(ours)
    again = from_keras(forward, backward)
    for mine, other in zip(ours.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine, other)
    x = speech()[:1]
    expected = np.concatenate([forward(x), np.asarray(backward(x))[:, ::-1]], -1)
    np.testing.assert_allclose(ours(x), expected, atol=1e-5)


def test_what_keras_has_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="got a Dense, expected one of LSTM, GRU, SimpleRNN"):
        from_keras(keras.layers.Dense(3))
    with pytest.raises(ValueError, match="has activations 'relu' and 'sigmoid', expected 'tanh' and 'sigmoid'"):
        from_keras(keras.layers.LSTM(3, activation="relu"))
    with pytest.raises(ValueError, match="has no weights yet"):
        from_keras(keras.layers.LSTM(3))
    with pytest.raises(ValueError, match="the two directions differ"):
        from_keras(keras_pair("LSTM")[0], keras_pair("GRU")[0])
    for cell in (LstmCell(layer_norm=True), LstmCell(projection=2), RnnCell(activation="clipped-relu")):
        with pytest.raises(ValueError, match="Keras has no layer for"):
            to_keras(Recurrent(2, 3, cell=cell, rng=np.random.default_rng(0)))


@every_cell
def test_padding_batch_and_order_change_nothing(cell) -> None:
    layer, x, lengths = layer_of(cell), speech(), tf.constant(LENGTHS)
    shapes = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=shapes, autograph=False)
    def value_and_gradients(values, lengths, rows):
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = layer(values, lengths)
            loss = tf.reduce_sum(tf.gather(outputs, rows)[:, :7] ** 2)
        return outputs, tape.gradient(loss, [values, *layer.trainable_variables])

    expected, gradients = value_and_gradients(x, lengths, [0, 1, 2])
    longer = np.full((B, T + 4, D), np.nan, "f4")  # whatever stands there
    for b, length in enumerate(LENGTHS):
        longer[b, :length] = x[b, :length]
        alone, _ = value_and_gradients(x[b : b + 1, :length], lengths[b : b + 1], [0])
        np.testing.assert_allclose(alone[0], expected[b, :length], atol=1e-5)
    padded, padded_gradients = value_and_gradients(longer[[2, 0, 1]], tf.gather(lengths, [2, 0, 1]), [1, 2, 0])
    np.testing.assert_allclose(tf.gather(padded, [1, 2, 0])[:, :T], expected, atol=1e-5)
    assert not padded.numpy()[:, T:].any()
    np.testing.assert_allclose(padded_gradients[0].numpy()[[1, 2, 0], :T], gradients[0], atol=1e-5)
    for mine, other in zip(padded_gradients[1:], gradients[1:], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)


def test_any_integers_are_lengths_and_any_floats_values() -> None:
    weights = {
        "forward": {name: np.asarray(value) for name, value in layer_of(GruCell()).weights_of["forward"].items()}
    }
    expected, _ = recurrent(speech(), tf.constant(LENGTHS, tf.int32), weights, cell=GruCell())
    for kind in ("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"):
        got, _ = recurrent(speech(), LENGTHS.astype(kind), weights, cell=GruCell())
        np.testing.assert_array_equal(got, expected, err_msg=kind)
    np.testing.assert_array_equal(recurrent(speech(), LENGTHS.tolist(), weights, cell=GruCell())[0], expected)
    got, last = recurrent(speech().astype("f8"), LENGTHS, weights, cell=GruCell())
    assert got.dtype == last["forward"][0].dtype == tf.float32
    np.testing.assert_array_equal(got, expected)
    layer = layer_of(GruCell())
    np.testing.assert_array_equal(layer(speech().astype("f8"), LENGTHS), layer(speech(), LENGTHS))
    half, _ = recurrent(speech().astype("f2"), LENGTHS, weights, cell=GruCell())
    np.testing.assert_allclose(half, expected, atol=1e-2)


def test_a_mask_does_what_lengths_do_and_may_have_holes() -> None:
    layer, x = layer_of(LstmCell(), directions="forward"), speech()
    real = np.arange(T) < LENGTHS[:, None]
    expected = layer(x, LENGTHS)
    for mask in (real, real.astype("f4"), tf.constant(real)):
        np.testing.assert_array_equal(layer(x, mask), expected)
    holes = np.array([[1, 0, 1, 1, 0, 0, 1, 1, 0]] * B, bool)
    np.testing.assert_allclose(layer(x, holes).numpy()[holes], layer(x[:, holes[0]]).numpy().reshape(-1, H), atol=1e-6)
    np.testing.assert_allclose(layer(x), layer(x, np.array([T] * B)), atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "direction", "training"),
    [
        (LstmCell(layer_norm=True, projection=3), "backward", True),
        (GruCell(), "backward", False),
        (GruCell(reset_after=False), "forward", True),
    ],
    ids=str,
)
def test_eager_graph_and_compiled_agree(cell, direction: str, training: bool) -> None:
    """In one direction, as each way is compiled anew; test_recurrent_traps.py compiles both."""
    x, lengths, options = tf.constant(speech()), tf.constant(LENGTHS), {"directions": direction}
    options |= {"recurrent_dropout": 0.4}
    layers = {compiled: layer_of(cell, compiled=compiled, **options) for compiled in ("auto", False, True)}

    def run(layer):
        def step(x, lengths):
            with tf.GradientTape() as tape:
                outputs = layer(x, lengths, training=training, seed=[1, 2])
                loss = tf.reduce_sum(outputs**2)
            return outputs, *tape.gradient(loss, layer.trainable_variables)

        return step

    expected = run(layers[False])(x, lengths)
    open_shapes = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int64)]
    ways = {
        "graph": (layers[False], {}),
        "graph of open shapes": (layers["auto"], {"input_signature": open_shapes}),
        "compiled loops": (layers["auto"], {}),
        "compiled loops of open shapes": (layers[True], {"input_signature": open_shapes}),
        "compiled": (layers[False], {"jit_compile": True}),
    }
    if training and direction == "forward":  # the kind of cell is nothing to it
        ways["compiled within compiled"] = (layers[True], {"jit_compile": True})
    for way, (layer, how) in ways.items():
        function = tf.function(run(layer), autograph=False, **how)
        for mine, other in zip(function(x, lengths), expected, strict=True):
            np.testing.assert_allclose(mine, other, atol=2e-5, err_msg=way)


def test_shapes_stay_known() -> None:
    layer = layer_of(LstmCell())
    graph = tf.function(layer, autograph=False)
    known = graph.get_concrete_function(tf.TensorSpec([2, 4, D]), tf.TensorSpec([2], tf.int32))
    assert known.output_shapes == (2, 4, 2 * H)
    graph = graph.get_concrete_function(tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32))
    assert graph.output_shapes.as_list() == [None, None, 2 * H]


@pytest.mark.parametrize(("batch", "frames"), [(2, 0), (0, 3), (1, 1)])
@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_to_read(batch: int, frames: int, compiled: bool) -> None:
    layer = layer_of(GruCell(), compiled=compiled)
    with tf.GradientTape() as tape:
        outputs = layer(tf.zeros([batch, frames, D]), tf.fill([batch], frames))
        loss = tf.reduce_sum(outputs)
    assert outputs.shape == (batch, frames, 2 * H)
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(loss, layer.trainable_variables))


@pytest.mark.parametrize("cell", [LstmCell(projection=3), GruCell(), RnnCell()], ids=name_of)
def test_pieces_are_the_whole(cell) -> None:
    layer, x = layer_of(cell, directions="forward"), speech()
    state, pieces = layer.start(B), []
    for piece in np.split(x, [2, 3, 7], axis=1):
        outputs, state = layer.step(piece, state)
        pieces.append(outputs)
    whole, last = layer(x, return_state=True, training=False)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-5)
    np.testing.assert_allclose(state[0], last["forward"][0], atol=1e-5)


@pytest.mark.parametrize("way", ["products", "policy"])
def test_bfloat16_products_are_near(way: str) -> None:
    options = {"products": "bfloat16"} if way == "products" else {"dtype": "mixed_bfloat16"}
    near, exact, x = layer_of(LstmCell(), **options), layer_of(LstmCell()), speech()
    gradients = []
    for layer in (near, exact):
        with tf.GradientTape() as tape:
            outputs = tf.cast(layer(x, LENGTHS), tf.float32)
            loss = tf.reduce_sum(outputs**2)
        gradients.append([outputs, *tape.gradient(loss, layer.trainable_variables)])
    assert near(x, LENGTHS).dtype == (tf.float32 if way == "products" else tf.bfloat16)
    for mine, other in zip(*gradients, strict=True):
        assert mine.dtype == tf.float32
        scale = float(tf.reduce_max(tf.abs(other)))
        np.testing.assert_allclose(mine, other, atol=0.03 * scale)
        assert not np.array_equal(mine, other)


@every_cell
def test_compiled_loops_multiply_in_bfloat16(cell) -> None:
    """Near to float32 at every weight; and not the same, as loops that are not compiled are but for the input."""
    results = []
    for options in ({"compiled": True, "products": "bfloat16"}, {"products": "bfloat16"}, {}):
        layer = layer_of(cell, **options)
        with tf.GradientTape() as tape:
            outputs = layer(speech(), LENGTHS)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, layer.trainable_variables)])
    for mine, graph, exact in zip(*results, strict=True):
        assert mine.dtype == tf.float32
        assert np.linalg.norm(mine - exact) < 0.1 * np.linalg.norm(exact)
        assert not np.array_equal(mine, graph)


def test_bfloat16_is_what_is_multiplied_and_float32_what_is_added_up() -> None:
    """A simple RNN, step by step in numpy, with state and matrix rounded and nothing else."""
    rng = np.random.default_rng(5)
    z, matrix = rng.normal(size=(4, B, 64)).astype("f4"), (rng.normal(size=(64, 64)) / 8).astype("f4")
    weights = {"recurrent": tf.constant(matrix), "bias": tf.zeros(64)}
    options = {"products": tf.bfloat16, "compiled": True}
    got, _ = scan(RnnCell(), tf.constant(z), None, weights, (tf.zeros([B, 64]),), **options)

    def run(rounded) -> np.ndarray:
        rows, h = [], np.zeros((B, 64))
        for row in z:
            h = np.tanh(row + rounded(h) @ rounded(matrix))
            rows.append(h)
        return np.array(rows)

    short = tf.bfloat16.as_numpy_dtype
    np.testing.assert_allclose(got, run(lambda x: x.astype(short).astype("f8")), atol=1e-5)
    assert np.abs(got - run(np.asarray)).max() > 1e-3


def test_recurrent_dropout_hides_the_state_by_a_seed_alone() -> None:
    layer, x = layer_of(LstmCell(), recurrent_dropout=0.5), speech()
    first = layer(x, LENGTHS, seed=[1, 2]).numpy()
    np.testing.assert_array_equal(first, layer(x, LENGTHS, seed=[1, 2]))
    for other in (layer(x, LENGTHS, seed=[1, 3]), layer(x, LENGTHS, seed=[1, 2], place=1)):
        assert np.abs(first[:, 1:] - other[:, 1:]).max() > 1e-3
    np.testing.assert_allclose(first[:, 0, :H], layer(x, LENGTHS, training=False)[:, 0, :H], atol=1e-6)  # no state yet
    with pytest.raises(ValueError, match="expected seed"):
        layer(x, LENGTHS)


def test_recurrent_dropout_is_one_mask_for_all_frames() -> None:
    """By a layer whose state cannot reach the gates but through a mask of 0 or 2."""
    layer, x = layer_of(RnnCell(), directions="forward"), speech()
    mask = np.array([[0, 2, 2, 0, 0], [2] * 5, [0] * 5], "f4")
    weights = {name: np.asarray(value) for name, value in layer.weights_of["forward"].items()}
    got, _ = recurrent(x, None, {"forward": weights}, cell=RnnCell(), dropouts={"forward": tf.constant(mask)})
    for b in range(B):
        h = np.zeros(H)
        for t in range(T):
            h = np.tanh(x[b, t] @ weights["kernel"] + weights["bias"] + (h * mask[b]) @ weights["recurrent"])
            np.testing.assert_allclose(got[b, t], h, atol=1e-5)


def test_the_step_of_a_speller() -> None:
    z, c = speech()[:, 0, :4], speech(1)[:, 0, :1]
    i, f, o, g = np.split(z, 4, -1)
    expected = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h, cell = lstm_cell(tf.constant(z), tf.constant(c))
    np.testing.assert_allclose(cell, expected, atol=1e-6)
    np.testing.assert_allclose(h, sigmoid(o) * np.tanh(expected), atol=1e-6)


def test_a_keras_user_composes_saves_and_loads_it(tmp_path) -> None:
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, keras.layers.Dense(2)(layer_of(GruCell())(inputs)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Recurrent": Recurrent})
    np.testing.assert_allclose(again(speech()), model(speech()), atol=1e-6)


def test_wrong_use_is_told_in_one_line() -> None:
    rng = np.random.default_rng(0)
    for match, options in {
        "merge is 'max', expected 'concat' or 'sum'": {"merge": "max"},
        "directions is 'left', expected one of both, forward, backward": {"directions": "left"},
        "recurrent_dropout is 1, expected at least 0 and below 1": {"recurrent_dropout": 1},
        "compiled is 'yes', expected 'auto', True or False": {"compiled": "yes"},
        "products is 'float8', expected 'float32' or 'bfloat16'": {"products": "float8"},
    }.items():
        with pytest.raises(ValueError, match=match):
            Recurrent(2, 2, rng=rng, **options)
    with pytest.raises(ValueError, match="expected one of tanh, relu, clipped-relu"):
        RnnCell(activation="sin")
    with pytest.raises(ValueError, match="projection is 0"):
        LstmCell(projection=0)
    with pytest.raises(ValueError, match="layer_norm needs reset_after=True"):
        GruCell(reset_after=False, layer_norm=True)
    layer = Lstm(2, 2, rng=rng)
    with pytest.raises(ValueError, match=r"values have shape \(4, 2\), expected \(B, T, D\)"):
        layer(tf.zeros([4, 2]))
    with pytest.raises(ValueError, match=r"lengths have shape \(1, 1, 1\), expected \(B,\), or a mask \(B, T\)"):
        layer(tf.zeros([1, 4, 2]), tf.zeros([1, 1, 1]))
