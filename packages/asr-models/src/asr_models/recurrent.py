"""The recurrent core: an LSTM over padded sequences with a hand-written gradient.

The input projection of all steps is one large product, outside of the loop; the loop does one small product a step
in each direction of the pass. Writing the backward loop by hand stores each gate once and turns the gradient of the
recurrent weights into one product at the end, where automatic differentiation would make one a step.

    i, f, o = sigmoid(z[:3]),  g = tanh(z[3]),   z = x W + h R + b      (gate order i, f, o, g)
    c' = f c + i g,            h' = o tanh(c')                          (Gers et al., 2000)

The state is zero on padding: it starts at zero at the first real frame in either direction, and padding reaches no
output. Padding is at the end.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import glorot, orthogonal, weight


def _gates(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    units = z.shape[-1] // 4
    i, f, o = tf.split(tf.sigmoid(z[..., : 3 * units]), 3, axis=-1)
    return i, f, o, tf.tanh(z[..., 3 * units :])


def lstm_cell(z: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One step from the summed projections `z` `(N, 4H)` and the cell `c` `(N, H)`: the new `(h, c)`."""
    i, f, o, g = _gates(z)
    c = f * c + i * g
    return o * tf.tanh(c), c


def _array(like: tf.Tensor, steps: tf.Tensor, width: int) -> tf.TensorArray:
    return tf.TensorArray(like.dtype, steps, element_shape=[like.shape[1], width], clear_after_read=False)


def _forward(z: tf.Tensor, recurrent: tf.Tensor, mask: tf.Tensor, reverse: bool) -> tuple[tf.Tensor, ...]:
    """`z` `(T, B, 4H)`, `mask` `(T, B, 1)` -> outputs and cells `(T, B, H)`, gates `(T, B, 4H)`."""
    steps, units = tf.shape(z)[0], z.shape[-1] // 4
    zs, masks = _array(z, steps, 4 * units).unstack(z), _array(mask, steps, 1).unstack(mask)
    outputs, cells, gates = _array(z, steps, units), _array(z, steps, units), _array(z, steps, 4 * units)

    def body(k: tf.Tensor, h: tf.Tensor, c: tf.Tensor, *history: tf.TensorArray) -> tuple[Any, ...]:
        t = steps - 1 - k if reverse else k
        i, f, o, g = _gates(zs.read(t) + tf.matmul(h, recurrent))
        c = (f * c + i * g) * masks.read(t)
        h = o * tf.tanh(c)  # zero on padding, because c is
        rows = (h, c, tf.concat([i, f, o, g], -1))
        return k + 1, h, c, *(array.write(t, row) for array, row in zip(history, rows, strict=True))

    zero = tf.zeros_like(z[0, :, :units])
    _, _, _, *history = tf.while_loop(lambda k, *_: k < steps, body, (0, zero, zero, outputs, cells, gates))
    h, c, g = (array.stack() for array in history)
    return h, c, g


def _backward(
    dy: tf.Tensor, recurrent: tf.Tensor, mask: tf.Tensor, cells: tf.Tensor, gates: tf.Tensor, reverse: bool
) -> tf.Tensor:
    """The gradient `(T, B, 4H)` of the summed projections, given that of the outputs, `dy` `(T, B, H)`."""
    steps, units = tf.shape(dy)[0], dy.shape[-1]
    dys, masks = _array(dy, steps, units).unstack(dy), _array(mask, steps, 1).unstack(mask)
    # The cell before step t, in the direction of the forward loop.
    zero = tf.zeros_like(cells[:1])
    before = tf.concat([cells[1:], zero] if reverse else [zero, cells[:-1]], 0)
    cs, bs = _array(cells, steps, units).unstack(cells), _array(before, steps, units).unstack(before)
    gs, dzs = _array(gates, steps, 4 * units).unstack(gates), _array(gates, steps, 4 * units)

    def body(k: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor, dzs: tf.TensorArray) -> tuple[Any, ...]:
        t = k if reverse else steps - 1 - k
        i, f, o, g = tf.split(gs.read(t), 4, axis=-1)
        squashed = tf.tanh(cs.read(t))
        dh = dh + dys.read(t)
        dc = (dc + dh * o * (1 - squashed * squashed)) * masks.read(t)
        dz = tf.concat(
            [
                dc * g * i * (1 - i),
                dc * bs.read(t) * f * (1 - f),
                dh * squashed * o * (1 - o),
                dc * i * (1 - g * g),
            ],
            -1,
        )
        return k + 1, tf.matmul(dz, recurrent, transpose_b=True), dc * f, dzs.write(t, dz)

    state = tf.zeros_like(dy[0])
    *_, dzs = tf.while_loop(lambda k, *_: k < steps, body, (0, state, state, dzs))
    return dzs.stack()


def lstm(z: tf.Tensor, recurrent: tf.Tensor, mask: tf.Tensor, *, reverse: bool = False) -> tf.Tensor:
    """Run one direction of an LSTM.

    Args:
        z: `(T, B, 4H)` input projections with bias, time first; gate order i, f, o, g.
        recurrent: `(H, 4H)`.
        mask: `(T, B, 1)`, 1 on real frames, 0 on padding, which comes last.
        reverse: from the last real frame to the first; outputs stay in the order of time.

    Returns:
        `(T, B, H)` outputs, zero on padding.
    """

    @tf.custom_gradient
    def run(z: tf.Tensor, recurrent: tf.Tensor) -> tuple[tf.Tensor, Any]:
        outputs, cells, gates = _forward(z, recurrent, mask, reverse)

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dz = _backward(dy, recurrent, mask, cells, gates, reverse)
            earlier, later = (outputs[1:], dz[:-1]) if reverse else (outputs[:-1], dz[1:])
            units = recurrent.shape[0]
            rows = tf.reshape(earlier, [-1, units]), tf.reshape(later, [-1, 4 * units])
            return dz, tf.matmul(*rows, transpose_a=True)

        return outputs, gradient

    return run(z, recurrent)


class Lstm(keras.Layer):
    """One LSTM layer over padded sequences, in both directions.

    `merge` says how the two directions meet: "concat" `(B, T, 2H)` or "sum" `(B, T, H)`.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        rng: np.random.Generator,
        merge: str = "concat",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if merge not in ("concat", "sum"):
            raise ValueError(f"merge is {merge!r}, expected 'concat' or 'sum'")
        self.units, self.merge = units, merge
        self.width = 2 * units if merge == "concat" else units
        # The forget gates start open, so that gradients reach far from the first step on (Jozefowicz et al., 2015).
        bias = np.repeat(np.array([0, 1, 0, 0], np.float32), units)
        self.weights_of = [
            (
                weight(self, f"{direction}_kernel", glorot(rng, inputs, 4 * units)),
                weight(self, f"{direction}_recurrent", np.hstack([orthogonal(rng, units) for _ in range(4)])),
                weight(self, f"{direction}_bias", bias),
            )
            for direction in ("forward", "backward")
        ]
        # An eager caller gets the loops as graphs too, traced once for all batches.
        self.run = tf.function(lstm, autograph=False, reduce_retracing=True)
        self.built = True

    def call(self, values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """`values` `(B, T, D)`, `mask` `(B, T)` float -> `(B, T, H)` or `(B, T, 2H)`, zero on padding."""
        by_time = tf.transpose(values, [1, 0, 2])
        mask = tf.transpose(mask)[..., None]
        directions = []
        for reverse, weights in zip((False, True), self.weights_of, strict=True):
            kernel, recurrent, bias = (tf.convert_to_tensor(w) for w in weights)
            z = tf.tensordot(by_time, kernel, 1) + bias
            directions.append(self.run(z, recurrent, mask, reverse=reverse))
        merged = tf.concat(directions, -1) if self.merge == "concat" else tf.add_n(directions)
        return tf.transpose(merged, [1, 0, 2])
