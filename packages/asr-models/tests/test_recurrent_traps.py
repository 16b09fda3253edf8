"""Where stock recurrent layers failed on accelerators, what of ours a test on a CPU can hold fast.

A TPU wants shapes that are known and loops whose number of steps is a constant; a GPU has kernels that treat a mask in
their own way. So: the graph of a layer is looked through for the operations that were at fault, and XLA has to take it.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models.cells import GruCell, LstmCell, RnnCell
from asr_models.keras_weights import from_keras
from asr_models.recurrent import Recurrent

B, T, D, H = 3, 8, 4, 5
LENGTHS = np.array([8, 2, 5], np.int32)
every_cell = pytest.mark.parametrize("cell", [LstmCell(), GruCell(), RnnCell()], ids=lambda cell: type(cell).__name__)


def training_step(layer, *, compiled: bool = False):
    variables = [variable.value for variable in layer.trainable_variables]

    @tf.function(jit_compile=compiled, autograph=False)
    def step(values, lengths):
        with tf.GradientTape() as tape:
            outputs = layer(values, lengths)
            loss = tf.reduce_sum(outputs**2)
        return outputs, *tape.gradient(loss, variables)

    return step


def operations(step) -> list:
    """All of a graph and of the functions that it calls."""
    values, lengths = tf.TensorSpec([B, T, D]), tf.TensorSpec([B], tf.int32)
    graph = step.get_concrete_function(values, lengths).graph
    found, waiting, seen = [], [graph], set()
    while waiting:
        found += (here := [each for each in waiting.pop().get_operations() if "redundant_placeholder" not in each.name])
        for operation in here:
            for name in ("body", "cond", "f"):
                if name in operation.node_def.attr and (called := operation.get_attr(name).name) not in seen:
                    seen.add(called)
                    waiting.append(graph._get_function(called).graph)
    return found


def speech() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(B, T, D)).astype("f4")


@every_cell
def test_both_directions_compile_as_for_a_tpu(cell) -> None:
    """tensorflow #48880: there `Bidirectional` failed, as its backward direction had a shape that was not known."""
    layer = Recurrent(D, H, cell=cell, rng=np.random.default_rng(1), compiled=False)
    plain = training_step(layer)
    expected = plain(speech(), tf.constant(LENGTHS))
    for mine, other in zip(training_step(layer, compiled=True)(speech(), tf.constant(LENGTHS)), expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    found = operations(plain)
    assert not {operation.type for operation in found} & {"ReverseSequence", "Where", "BooleanMask", "Unique"}
    shapes = [output.shape for operation in found for output in operation.outputs if output.dtype == tf.float32]
    assert len(shapes) > 50 and all(shape.is_fully_defined() for shape in shapes)


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU])
def test_no_kernel_decides_what_a_mask_means(kind) -> None:
    """tensorflow #49241: with a mask, cuDNN's LSTM and GRU put something else on padding than the CPU did.

    Whichever device, a layer of ours is the same loop; and what it puts on padding is zero, whatever the mask's type.
    """
    theirs = kind(H, return_sequences=True)
    theirs.build((None, None, D))
    ours, mask = from_keras(theirs), np.arange(T) < LENGTHS[:, None]
    expected = theirs(speech(), mask=tf.constant(mask)).numpy()
    for given in (tf.constant(mask), tf.constant(mask.astype("f4")), tf.constant(LENGTHS)):
        got = ours(speech(), given).numpy()
        np.testing.assert_allclose(got[mask], expected[mask], atol=1e-5)
        assert not got[~mask].any()
    assert not [operation.type for operation in operations(training_step(ours)) if "Cudnn" in operation.type]


@every_cell
@pytest.mark.parametrize("compiled", [False, "auto"])
def test_loops_have_a_constant_number_of_steps(cell, compiled: bool | str) -> None:
    """tensorflow #49469: a loop over `tf.range` was refused, as its number of steps was no constant to the compiler."""
    # Of a width of its own: a loop that was traced for any number of steps would serve here too.
    layer = Recurrent(D, H + 3, cell=cell, rng=np.random.default_rng(1), compiled=compiled)
    found = operations(training_step(layer))
    ranges = [operation.name for operation in found if operation.type == "Range"]
    assert all("SequenceMask" in name for name in ranges)  # to compare lengths with, not to loop over
    loops = [operation for operation in found if operation.type in ("While", "StatelessWhile")]
    assert len(loops) == 4  # forward and backward, in two directions
    for loop in loops:
        # TensorFlow's own counter of steps comes first, then what it may count to.
        assert tf.get_static_value(loop.inputs[1]) == T
