"""A recurrent cell over time: one loop forward, one backward, padding skipped in both.

The loop forward keeps what the loop backward reads, so that nothing is computed twice and each does one small product
a step; the gradients of the matrices are one large product each, after the loops. Automatic differentiation would make
one a step. Where the shapes are known the two loops are compiled by XLA, the large products around them are not: on
CPUs that is the quickest of the ways that `benchmarks/recurrent.py` measures.
"""

import functools
from typing import Any

import tensorflow as tf

from asr_models.cell_parts import Named, RecurrentCell, State

TRANSPOSED = {"recurrent": "recurrent_transposed", "projection": "projection_transposed"}


def scan(
    cell: RecurrentCell,
    z: Any,
    mask: Any | None,
    weights: Named,
    initial: State,
    *,
    reverse: bool = False,
    dropout: Any | None = None,
    products: tf.DType = tf.float32,
    compiled: bool = False,
    training: bool = True,
) -> tuple[Any, State]:
    """Run a cell over time, in one direction.

    Args:
        cell: whose step is taken.
        z: `(T, B, G)` input projections, time first; without bias if `weights` has one. Its dtype may be a shorter one.
        mask: `(T, B, 1)` bool, True on real frames; None where all are. What stands in the padding must be numbers.
        weights: the cell's, without those of the input projection.
        initial: the state before the first frame in the direction of the loop, `(B, ...)` tensors.
        reverse: from the last frame to the first; outputs stay in the order of time.
        dropout: `(B, H)`, multiplies h on its way into every step's product (Gal and Ghahramani, 2016).
        products: dtype of the large products of the gradient, and of each step's where it is compiled and bfloat16.
        compiled: by XLA, once for each shape.
        training: False keeps nothing for the gradient; asking for one then costs a second run.

    Returns:
        `(T, B, H)` outputs, on padding the state that was held there, and the last state.
    """
    compiled = compiled and z.shape[0] != 0  # XLA reads no row of none
    if not compiled:  # XLA fuses these into a step's other work; elsewhere one pass over all rows is quicker.
        z = tf.cast(z, initial[0].dtype) + weights["bias"]
        weights = {name: weights[name] for name in weights if name != "bias"}
    mask = None if mask is None else tf.cast(mask, initial[0].dtype)
    names = tuple(weights)
    fixed = {} if dropout is None else {"dropout": dropout}
    # XLA multiplies bfloat16 and adds up in float32, half as quick again; the rest of TensorFlow cannot.
    short = compiled and products == tf.bfloat16

    def matrices_of(weights: Named) -> Named:
        found = {name: weights[name] for name in TRANSPOSED if name in weights}
        return {name: tf.cast(found[name], products) for name in found} if short else found

    widths = (z.shape[-1], *(part.shape[-1] for part in initial))
    forward, backward = (_run(loop, cell, reverse, compiled, widths) for loop in (_forward, _backward))

    @tf.custom_gradient
    def run(*inputs: Any) -> tuple[Any, Any]:
        # Cut off, or an eager tape would record the loop as well.
        z, *rest = (tf.stop_gradient(each) for each in inputs)
        weights, initial = dict(zip(names, rest, strict=False)), tuple(rest[len(names) :])
        everything = weights | fixed | matrices_of(weights)
        history = forward(z, mask, everything, initial, keep=training)

        def gradient(d_outputs: Any, *d_last: Any) -> list[Any]:
            kept = history if training else forward(z, mask, everything, initial, keep=True)
            before = _before(kept["states"], initial, reverse)
            # Turned here and not in the loop: XLA on a CPU multiplies by a turned matrix at half the speed.
            turned = {TRANSPOSED[name]: tf.transpose(each) for name, each in matrices_of(weights).items()}
            looks_back = {str(n): before[n] for n in cell.looks_back}
            rows, d_initial, vectors = backward(d_outputs, d_last, mask, everything | turned, looks_back, kept["kept"])
            rows["z"] = tf.cast(rows["z"], z.dtype)  # not as a loop writes it: XLA would copy all rows at each step
            pairs = cell.matrices(before[0], kept["kept"], rows, weights | fixed)
            grads = vectors | {name: _sum_of_products(pairs[name], products) for name in pairs}
            return [rows["z"], *(grads[name] for name in names), *d_initial]

        return (history["states"][0], *history["last"]), gradient

    outputs, *last = run(z, *weights.values(), *initial)
    return outputs, tuple(last)


def _run(loop: Any, cell: RecurrentCell, reverse: bool, compiled: bool, widths: tuple[int, ...]) -> Any:
    if compiled or tf.executing_eagerly():
        return _traced(loop, cell, reverse, compiled, widths)
    return functools.partial(loop, cell, reverse)


@functools.cache
def _traced(loop: Any, cell: Any, reverse: bool, compiled: bool, widths: tuple[int, ...]) -> Any:
    """The loop as a graph of its own: traced and compiled once for all layers of one shape.

    A graph that is not compiled serves an eager caller, once for all batches and lengths. Not for all widths: a cell
    needs to know them, and a graph that served two would know neither.
    """
    run = functools.partial(loop, cell, reverse)
    if compiled:
        return tf.function(run, autograph=False, jit_compile=True)
    return tf.function(run, autograph=False, reduce_retracing=True)


def _array(rows: Any) -> tf.TensorArray:
    """An array to read the rows `(T, B, ...)` from."""
    array = tf.TensorArray(rows.dtype, _steps(rows), element_shape=rows.shape[1:], clear_after_read=False)
    return array.unstack(rows)


def _steps(rows: Any) -> Any:
    """How many: a number where it is known and not 0, else a tensor."""
    return rows.shape[0] or tf.shape(rows)[0]


def _arrays(like: Any, steps: Any) -> Any:
    """Arrays to write rows of these shapes into.

    Where there may be no step the first row is written here: an array without a row forgets the shape of one.
    """
    if isinstance(steps, int):
        return tf.nest.map_structure(lambda row: tf.TensorArray(row.dtype, steps, element_shape=row.shape), like)
    size = tf.maximum(steps, 1)
    return tf.nest.map_structure(
        lambda row: tf.TensorArray(row.dtype, size, element_shape=row.shape).write(0, tf.zeros_like(row)), like
    )


def _mix(real: Any | None, moved: State, held: State) -> State:
    """What moved on real frames, what was held on padding.

    By products: two choices by one mask are a branch for each element to XLA on a CPU, which is a fifth as quick.
    """
    if real is None:
        return moved
    return tuple(real * a + (1 - real) * b for a, b in zip(moved, held, strict=True))


def _write(arrays: Any, t: Any, rows: Any) -> Any:
    return tf.nest.map_structure(lambda array, row: array.write(t, row), arrays, rows)


def _stack(arrays: Any, steps: Any) -> Any:
    rows = tf.nest.map_structure(lambda array: array.stack(), arrays)
    return rows if isinstance(steps, int) else tf.nest.map_structure(lambda each: each[:steps], rows)


def _forward(
    cell: RecurrentCell, reverse: bool, z: Any, mask: Any | None, weights: Named, initial: State, *, keep: bool
) -> Named:
    """`states`: the state after each step, `kept`: what the gradient reads of it, `last`: the last state."""
    steps = _steps(z)
    read_z, read_mask = _array(z), None if mask is None else _array(mask)

    def step(row: Any, real: Any | None, state: State) -> tuple[State, Named]:
        row = tf.cast(row, state[0].dtype)
        moved, kept = cell.step(row + weights["bias"] if "bias" in weights else row, state, weights)
        return _mix(real, moved, state), kept

    def body(k: Any, state: State, scratch: Named, arrays: Any) -> tuple[Any, ...]:
        t = steps - 1 - k if reverse else k
        state, kept = step(read_z.read(t), None if read_mask is None else read_mask.read(t), state)
        rows = {"states": state, "kept": kept} if keep else {"states": state[:1], "kept": {}}
        return k + 1, state, {} if keep else kept, _write(arrays, t, rows)

    # A step that nobody runs tells the shapes of what is kept.
    _, kept = step(_frame_like(z, initial), None, initial)
    like = {"states": initial, "kept": kept} if keep else {"states": initial[:1], "kept": {}}
    # Carried and handed out even where no row is kept, or XLA would fuse a whole step into one loop, a slower one.
    scratch = {} if keep else tf.nest.map_structure(tf.zeros_like, kept)
    _, last, scratch, arrays = tf.while_loop(
        lambda k, *_: k < steps, body, (0, initial, scratch, _arrays(like, steps)), maximum_iterations=steps
    )
    return {**_stack(arrays, steps), "last": last, "scratch": scratch}


def _frame_like(z: Any, initial: State) -> Any:
    """Zeros of the shape of one frame of `z`, of which there may be none."""
    batch = initial[0].shape[0]
    return tf.zeros([tf.shape(initial[0])[0] if batch is None else batch, z.shape[-1]], z.dtype)


def _backward(
    cell: RecurrentCell,
    reverse: bool,
    d_outputs: Any,
    d_last: State,
    mask: Any | None,
    weights: Named,
    before: Named,
    kept: Named,
) -> tuple[Named, State, Named]:
    """The rows of each step's gradient, the gradient of the initial state, and those of the weights' vectors."""
    steps = _steps(d_outputs)
    everything = {"d": d_outputs, "before": before, "kept": kept}
    reads = tf.nest.map_structure(_array, everything)
    read_mask = None if mask is None else _array(mask)

    def step(row: Named, real: Any | None, after: State) -> tuple[Named, State, Named]:
        after = (after[0] + row["d"], *after[1:])
        state = tuple(row["before"].get(str(n)) for n in range(len(after)))
        # On padding the state was held: its gradient passes by, and the step gets none.
        moved = after if real is None else tuple(real * a for a in after)
        rows, d_before, vectors = cell.back(row["kept"], state, moved, weights)
        if real is not None:
            d_before = tuple(d + (1 - real) * a for d, a in zip(d_before, after, strict=True))
        if "bias" in weights:
            vectors = {**vectors, "bias": rows["z"]}
        return rows, d_before, vectors

    def body(k: Any, after: State, sums: Named, arrays: Any) -> tuple[Any, ...]:
        t = k if reverse else steps - 1 - k
        row = tf.nest.map_structure(lambda array: array.read(t), reads)
        rows, d_before, vectors = step(row, None if read_mask is None else read_mask.read(t), after)
        return k + 1, d_before, {name: sums[name] + vectors[name] for name in sums}, _write(arrays, t, rows)

    like = tf.nest.map_structure(lambda rows: _frame_like(rows, d_last), everything)
    rows, _, vectors = step(like, None, tuple(d_last))
    sums = tf.nest.map_structure(tf.zeros_like, vectors)
    _, d_initial, sums, arrays = tf.while_loop(
        lambda k, *_: k < steps, body, (0, tuple(d_last), sums, _arrays(rows, steps)), maximum_iterations=steps
    )
    return _stack(arrays, steps), d_initial, {name: tf.reduce_sum(each, 0) for name, each in sums.items()}


def _before(states: State, initial: State, reverse: bool) -> State:
    """The state before each step, from that after it."""
    if reverse:
        return tuple(tf.concat([rows, first[None]], 0)[1:] for rows, first in zip(states, initial, strict=True))
    return tuple(tf.concat([first[None], rows], 0)[:-1] for rows, first in zip(states, initial, strict=True))


def _sum_of_products(pairs: list[tuple[Any, Any]], dtype: tf.DType) -> Any:
    """For each pair of rows `(T, B, M)` and `(T, B, N)` their product `(M, N)`; the products side by side."""
    found = []
    for left, right in pairs:
        m, n = (tf.reshape(tf.cast(rows, dtype), [-1, rows.shape[-1]]) for rows in (left, right))
        found.append(tf.cast(tf.matmul(m, n, transpose_a=True), left.dtype))
    return tf.concat(found, -1) if len(found) > 1 else found[0]
