"""Connectionist temporal classification (Graves et al., 2006): the loss, and which texts can have one.

Forward and backward variables run in one loop, and the gradient, softmax minus posterior (equation 16), is known when
it ends; nothing is differentiated through the loop. The variables of a frame are kept relative to the greatest of them
and the posterior is normalised in each frame, or float32 would leave of a long utterance's gradient three digits. All
shapes follow from those of the arguments, so that it compiles for a TPU; on a CPU the loop alone is compiled where the
shapes are known.
"""

import functools
from typing import Any

import tensorflow as tf

# Stands for log 0 where an infinity would turn 0 * inf into a NaN.
IMPOSSIBLE = -1e30


def ctc_loss(logits: Any, lengths: Any, labels: Any, label_lengths: Any, *, blank: int = 0) -> Any:
    """-log p(labels | logits) of each utterance.

    Args:
        logits: `(B, T, V)`, not normalised.
        lengths: `(B,)` integers, each utterance's own number of frames.
        labels: `(B, L)` integers; what stands beyond `label_lengths` is not read.
        label_lengths: `(B,)` integers.
        blank: the id of the blank.

    Returns:
        `(B,)` float32, natural log. An utterance too short for its labels (see `ctc_feasible`) gets infinity and no
        gradient; the others are not touched.

    Raises:
        ValueError: `logits` is not of rank 3, or `labels` not of rank 2.
    """
    logits = tf.cast(logits, tf.float32)
    lengths, labels, label_lengths = (tf.cast(part, tf.int32) for part in (lengths, labels, label_lengths))
    if logits.shape.rank != 3 or labels.shape.rank != 2:
        raise ValueError(
            f"ctc_loss: logits {logits.shape} and labels {labels.shape}, expected (B, T, V) logits and (B, L) labels"
        )
    lengths, label_lengths = (tf.ensure_shape(part, [None]) for part in (lengths, label_lengths))
    logits, lengths, labels, label_lengths = _of_one_batch(logits, lengths, labels, label_lengths)
    states = _States(labels, label_lengths, blank)
    frames = tf.sequence_mask(lengths, logits.shape[1] or tf.shape(logits)[1], dtype=tf.float32)

    @tf.custom_gradient
    def run(logits: Any) -> tuple[Any, Any]:
        log_probs = tf.nn.log_softmax(tf.stop_gradient(logits))
        # Whole rows of frames are gathered, not single numbers: a fifth of the time on a CPU.
        emissions = tf.gather(tf.transpose(log_probs, [0, 2, 1]), states.tokens, axis=1, batch_dims=1)
        emissions = tf.maximum(tf.transpose(emissions, [2, 0, 1]), IMPOSSIBLE)
        forward, backward, end, scale = _alpha_beta(emissions, states, tf.transpose(frames)[..., None])
        total = tf.reduce_logsumexp(tf.where(states.last, end, IMPOSSIBLE), -1) + scale
        # With no frames there is nothing to emit: certain for an empty text.
        nothing = tf.logical_and(tf.equal(lengths, 0), tf.equal(label_lengths, 0))
        total = tf.where(nothing, 0.0, total)
        # Written so that a NaN stays one.
        impossible = total <= IMPOSSIBLE / 2
        loss = tf.where(impossible, float("inf"), 0.0 - total)

        def gradient(upstream: Any) -> Any:
            # Both variables hold the emission of their frame, hence the minus. Each frame is in one state for certain.
            posterior = tf.nn.softmax(forward + backward - emissions)
            occupied = tf.matmul(tf.transpose(posterior, [1, 0, 2]), tf.one_hot(states.tokens, tf.shape(logits)[2]))
            weight = tf.where(impossible, 0.0, upstream)[:, None] * frames
            # Selected and not multiplied: an utterance without a gradient may hold what is no number.
            return tf.where(weight[..., None] != 0, (tf.exp(log_probs) - occupied) * weight[..., None], 0.0)

        return loss, gradient

    return run(logits)


def ctc_feasible(lengths: Any, labels: Any, label_lengths: Any) -> Any:
    """Which utterances have a path at all: one frame a label, and one more between two labels that are the same.

    Args:
        lengths: `(B,)` integers, frames.
        labels: `(B, L)` integers.
        label_lengths: `(B,)` integers.

    Returns:
        `(B,)` bool; where it is False, `ctc_loss` is infinite.
    """
    lengths, labels, label_lengths = (tf.cast(part, tf.int32) for part in (lengths, labels, label_lengths))
    inside = tf.sequence_mask(label_lengths - 1, tf.maximum(tf.shape(labels)[1] - 1, 0))
    repeats = tf.logical_and(tf.equal(labels[:, 1:], labels[:, :-1]), inside)
    return label_lengths + tf.reduce_sum(tf.cast(repeats, tf.int32), 1) <= lengths


def _of_one_batch(*parts: Any) -> list[Any]:
    """What is known of one part's number of utterances, known of all."""
    known = next((part.shape[0] for part in parts if part.shape[0] is not None), None)
    return [tf.ensure_shape(part, tf.TensorShape([known]).concatenate(part.shape[1:])) for part in parts]


class _States:
    """The CTC automaton of a batch of texts: blank, first, blank, second, ..., blank; `(B, S)`, S = 2 L + 1."""

    def __init__(self, labels: Any, label_lengths: Any, blank: int) -> None:
        known = [size or tf.shape(labels)[axis] for axis, size in enumerate(labels.shape)]
        batch, size = known[0], 2 * known[1] + 1
        labels = tf.where(tf.sequence_mask(label_lengths, known[1]), labels, blank)
        pairs = tf.reshape(tf.stack([tf.fill(tf.shape(labels), blank), labels], -1), [batch, size - 1])
        self.tokens = tf.concat([pairs, tf.fill([batch, 1], blank)], 1)
        index, end = tf.range(size)[None], 2 * label_lengths[:, None]
        real = index <= end
        self.first = tf.logical_and(index <= 1, real)
        self.last = tf.logical_and(index >= end - 1, real)
        # A state may be entered from two before it, unless that repeats a token or skips one.
        differs = tf.not_equal(self.tokens, tf.roll(self.tokens, 2, axis=1))
        self.skip = tf.logical_and(tf.logical_and(differs, tf.not_equal(self.tokens, blank)), index >= 2)

    def both_ways(self) -> tuple[Any, Any]:
        """Log weights `(2, B, S)` of skipping into a state and of starting in it, forward and (mirrored) backward."""
        leave = tf.roll(self.skip, -2, axis=1)  # the last two states are never skipped from: skip starts False there
        skip = tf.stack([self.skip, tf.reverse(leave, [1])])
        start = tf.stack([self.first, tf.reverse(self.last, [1])])
        return tf.where(skip, 0.0, IMPOSSIBLE), tf.where(start, 0.0, IMPOSSIBLE)


def _alpha_beta(emissions: Any, states: _States, mask: Any) -> tuple[Any, Any, Any, Any]:
    """Forward and backward variables `(T, B, S)`, from emissions `(T, B, S)` and the frames' mask `(T, B, 1)`.

    Each is known up to a number a frame. Also the forward variable of the last frame, `(B, S)`, and its number, `(B,)`.

    The backward variable is the forward one of time and states mirrored. Padding comes last in time, so mirrored it
    comes first: the recursion begins at the first real frame, and holds its value on padding.
    """
    skip, start = states.both_ways()
    scores = tf.stack([emissions, tf.reverse(emissions, [0, 2])], 1)
    masks = tf.stack([mask, tf.reverse(mask, [0])], 1) > 0
    # XLA reads no row of none.
    compiled = scores.shape.is_fully_defined() and scores.shape[0] > 0 and not tf.executing_eagerly()
    both, tops, end = _recursion_of(compiled)(scores, masks, skip, start)
    return both[:, 0], tf.reverse(both[:, 1], [0, 2]), end[0], tf.reduce_sum(tops[:, 0, :, 0], 0)


def _recursion_of(compiled: bool) -> Any:
    """The loop, traced for itself where it is compiled, and where an eager caller would run it step by step."""
    return _traced_recursion(compiled) if compiled or tf.executing_eagerly() else _recursion


@functools.cache
def _traced_recursion(compiled: bool) -> Any:
    if compiled:
        return tf.function(_recursion, jit_compile=True, autograph=False)
    return tf.function(_recursion, autograph=False, reduce_retracing=True)


def _recursion(scores: Any, masks: Any, skip: Any, start: Any) -> tuple[Any, Any, Any]:
    """Forward variables of scores `(T, 2, B, S)` and masks `(T, 2, B, 1)`, in each frame less the greatest of them.

    Also what that took away, `(T, 2, B, 1)`, and the variable of the last frame.
    """
    steps = scores.shape[0] or tf.shape(scores)[0]
    score_array = tf.TensorArray(tf.float32, steps).unstack(scores)
    mask_array = tf.TensorArray(tf.bool, steps).unstack(masks)
    alpha = tf.fill(tf.shape(start), IMPOSSIBLE)
    begun = tf.zeros(tf.concat([tf.shape(start)[:2], [1]], 0), tf.bool)
    edge = tf.fill(tf.concat([tf.shape(start)[:2], [2]], 0), IMPOSSIBLE)
    # With a first row already, for where there are no frames: an array of nothing cannot be stacked.
    out = tf.TensorArray(tf.float32, tf.maximum(steps, 1), element_shape=scores.shape[1:]).write(0, alpha)
    tops = tf.TensorArray(tf.float32, tf.maximum(steps, 1), element_shape=masks.shape[1:])
    tops = tops.write(0, tf.cast(begun, tf.float32))

    def body(t: Any, alpha: Any, begun: Any, out: Any, tops: Any) -> tuple[Any, ...]:
        real = mask_array.read(t)
        shifted = tf.concat([edge, alpha], -1)
        entered = _log_add(alpha, shifted[..., 1:-1], shifted[..., :-2] + skip)
        moved = tf.maximum(tf.where(begun, entered, start) + score_array.read(t), IMPOSSIBLE)
        top = tf.reduce_max(moved, -1, keepdims=True)
        # Where no state is possible nothing is taken away, or they all would be.
        top = tf.where(tf.logical_and(real, top > IMPOSSIBLE / 2), top, 0.0)
        alpha = tf.where(real, moved - top, alpha)
        return t + 1, alpha, tf.logical_or(begun, real), out.write(t, alpha), tops.write(t, top)

    _, alpha, _, out, tops = tf.while_loop(
        lambda t, *_: t < steps, body, (0, alpha, begun, out, tops), maximum_iterations=steps
    )
    return out.stack()[:steps], tops.stack()[:steps], alpha


def _log_add(*terms: Any) -> Any:
    top = tf.maximum(tf.maximum(terms[0], terms[1]), terms[2])
    return top + tf.math.log(tf.add_n([tf.exp(term - top) for term in terms]))
