"""The convolution with a gradient of its own against TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf

from asr_models import convolve as module
from asr_models.convolve import convolve, filter_gradient


def of(values: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, function) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch([values, kernel])
        out = function(values, kernel)
        total = tf.reduce_sum(tf.cast(out * upstream, tf.float32))
    return [out, *tape.gradient(total, [values, kernel])]


def problem(stride: int, dtype: str = "float32", *, time: int = 1) -> tuple[tf.Tensor, ...]:
    rng = np.random.default_rng(stride)
    frames = 30
    sizes = ((2, frames, 13 + 4 * stride, 3), (11, 14, 3, 5), (2, (frames - 11) // time + 1, 4, 5))
    return tuple(tf.constant(rng.normal(size=size), dtype) for size in sizes)


@pytest.mark.parametrize("strides", [(1, 1), (1, 2), (1, 3), (2, 2), (3, 1), (4, 2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradients_are_those_of_conv2d(strides: tuple[int, int], compiled: bool) -> None:
    values, kernel, upstream = problem(strides[1], time=strides[0])
    assert kernel.shape[0] * kernel.shape[1] >= module.LARGE
    expected = of(values, kernel, upstream, lambda x, k: tf.nn.conv2d(x, k, [1, *strides, 1], "VALID"))
    signature = [tf.TensorSpec([None, None, *values.shape[2:]]), tf.TensorSpec(kernel.shape)]
    signature.append(tf.TensorSpec([None, None, *upstream.shape[2:]]))
    run = tf.function(
        lambda *parts: of(*parts, lambda x, k: convolve(x, k, strides)),
        jit_compile=compiled,
        autograph=False,
        # XLA is given its shapes, the plain graph finds them out.
        input_signature=None if compiled else signature,
    )
    for mine, theirs in zip(run(values, kernel, upstream), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_it_is_the_product_that_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(module, "filter_gradient", lambda *parts: called.append(1) or filter_gradient(*parts))
    of(*problem(2), lambda x, k: convolve(x, k, (1, 2)))
    assert called or module._accelerated()


def test_bfloat16_is_as_near_as_conv2d_is() -> None:
    exact = of(*problem(2), lambda x, k: tf.nn.conv2d(x, k, [1, 1, 2, 1], "VALID"))[2].numpy()
    mine = of(*problem(2, "bfloat16"), lambda x, k: convolve(x, k, (1, 2)))[2]
    assert mine.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(mine, tf.float32), exact, atol=0.02 * np.abs(exact).max())
