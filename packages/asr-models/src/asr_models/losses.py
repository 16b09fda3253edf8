"""Losses over padded batches: one number an utterance, each from its own length."""

from typing import Any

import tensorflow as tf

# Stands for log 0 where an infinity would turn 0 * inf into a NaN.
IMPOSSIBLE = -1e30


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, lengths: tf.Tensor, *, smoothing: float = 0.0) -> tf.Tensor:
    """Label-smoothed cross-entropy, summed over the tokens of each utterance.

    Args:
        logits: `(B, U, V)` float32.
        labels: `(B, U)` int32; what stands beyond `lengths` is not read.
        lengths: `(B,)` int32.
        smoothing: the share of the target spread evenly over the vocabulary (Szegedy et al., 2015).

    Returns:
        `(B,)` float32, natural log.
    """
    log_probs = tf.nn.log_softmax(logits)
    mask = tf.sequence_mask(lengths, tf.shape(labels)[1], dtype=tf.float32)
    target = tf.gather(log_probs, tf.where(mask > 0, labels, 0), batch_dims=2)
    mean = tf.reduce_mean(log_probs, -1)
    return -tf.reduce_sum(((1 - smoothing) * target + smoothing * mean) * mask, -1)


def ctc_loss(
    logits: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor, label_lengths: tf.Tensor, *, blank: int = 0
) -> tf.Tensor:
    """Connectionist temporal classification (Graves et al., 2006), -log p(labels | logits).

    Forward and backward variables run in one loop, and the gradient, softmax minus posterior (equation 16), is
    known when it ends; nothing is differentiated through the loop.

    Args:
        logits: `(B, T, V)` float32, not normalised.
        lengths: `(B,)` int32, each utterance's own number of frames.
        labels: `(B, L)` int32; what stands beyond `label_lengths` is not read.
        label_lengths: `(B,)` int32.
        blank: the id of the blank.

    Returns:
        `(B,)` float32. An utterance too short for its labels gets infinity and no gradient; the others are not touched.
    """
    states = _States(labels, label_lengths, blank)
    frames = tf.sequence_mask(lengths, tf.shape(logits)[1], dtype=tf.float32)

    @tf.custom_gradient
    def run(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
        log_probs = tf.nn.log_softmax(logits)
        emissions = tf.transpose(tf.gather(log_probs, states.tokens, axis=2, batch_dims=1), [1, 0, 2])
        forward, backward = _alpha_beta(emissions, states, tf.transpose(frames)[..., None])
        total = tf.reduce_logsumexp(tf.where(states.last, forward[-1], IMPOSSIBLE), -1)
        # With no frames there is nothing to emit: certain for an empty text.
        nothing = tf.logical_and(tf.equal(lengths, 0), tf.equal(label_lengths, 0))
        total = tf.where(nothing, 0.0, total)
        possible = total > IMPOSSIBLE / 2
        loss = tf.where(possible, -total, float("inf"))

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # Both variables hold the emission of their frame, hence the minus.
            posterior = tf.exp(tf.minimum(forward + backward - emissions - total[None, :, None], 0.0))
            posterior = tf.transpose(posterior, [1, 0, 2]) * states.real[:, None]
            occupied = tf.matmul(posterior, tf.one_hot(states.tokens, tf.shape(logits)[2]))
            weight = tf.where(possible, upstream, 0.0)[:, None] * frames
            return (tf.exp(log_probs) - occupied) * weight[..., None]

        return loss, gradient

    return run(logits)


class _States:
    """The CTC automaton of a batch of texts: blank, first, blank, second, ..., blank; `(B, S)`, S = 2 L + 1."""

    def __init__(self, labels: tf.Tensor, label_lengths: tf.Tensor, blank: int) -> None:
        batch, size = tf.shape(labels)[0], 2 * tf.shape(labels)[1] + 1
        labels = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]), labels, blank)
        pairs = tf.reshape(tf.stack([tf.fill(tf.shape(labels), blank), labels], -1), [batch, size - 1])
        self.tokens = tf.concat([pairs, tf.fill([batch, 1], blank)], 1)
        index, end = tf.range(size)[None], 2 * label_lengths[:, None]
        real = index <= end
        self.real = tf.cast(real, tf.float32)
        self.first = tf.logical_and(index <= 1, real)
        self.last = tf.logical_and(index >= end - 1, real)
        # A state may be entered from two before it, unless that repeats a token or skips one.
        differs = tf.not_equal(self.tokens, tf.roll(self.tokens, 2, axis=1))
        self.skip = tf.logical_and(tf.logical_and(differs, tf.not_equal(self.tokens, blank)), index >= 2)

    def both_ways(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Log weights `(2, B, S)` of skipping into a state and of starting in it, forward and (mirrored) backward."""
        leave = tf.roll(self.skip, -2, axis=1)  # the last two states are never skipped from: skip starts False there
        skip = tf.stack([self.skip, tf.reverse(leave, [1])])
        start = tf.stack([self.first, tf.reverse(self.last, [1])])
        return tf.where(skip, 0.0, IMPOSSIBLE), tf.where(start, 0.0, IMPOSSIBLE)


def _alpha_beta(emissions: tf.Tensor, states: _States, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Forward and backward variables `(T, B, S)`, from emissions `(T, B, S)` and the frames' mask `(T, B, 1)`.

    The backward variable is the forward one of time and states mirrored. Padding comes last in time, so mirrored it
    comes first: the recursion begins at the first real frame, and holds its value on padding.
    """
    skip, start = states.both_ways()
    scores = tf.stack([emissions, tf.reverse(emissions, [0, 2])], 1)
    masks = tf.stack([mask, tf.reverse(mask, [0])], 1)
    steps = tf.shape(scores)[0]
    score_array = tf.TensorArray(tf.float32, steps).unstack(scores)
    mask_array = tf.TensorArray(tf.float32, steps).unstack(masks)
    out = tf.TensorArray(tf.float32, steps, element_shape=scores.shape[1:])
    edge = tf.fill(tf.concat([tf.shape(start)[:2], [2]], 0), IMPOSSIBLE)

    def body(t: tf.Tensor, alpha: tf.Tensor, begun: tf.Tensor, out: tf.TensorArray) -> tuple[Any, ...]:
        real = mask_array.read(t) > 0
        shifted = tf.concat([edge, alpha], -1)
        entered = _log_add(alpha, shifted[..., 1:-1], shifted[..., :-2] + skip)
        moved = tf.maximum(tf.where(begun, entered, start) + score_array.read(t), IMPOSSIBLE)
        alpha = tf.where(real, moved, alpha)
        return t + 1, alpha, tf.logical_or(begun, real), out.write(t, alpha)

    alpha, begun = (
        tf.fill(tf.shape(start), IMPOSSIBLE),
        tf.zeros(tf.concat([tf.shape(start)[:2], [1]], 0), tf.bool),
    )
    *_, out = tf.while_loop(lambda t, *_: t < steps, body, (0, alpha, begun, out))
    both = out.stack()
    return both[:, 0], tf.reverse(both[:, 1], [0, 2])


def _log_add(*terms: tf.Tensor) -> tf.Tensor:
    top = tf.maximum(tf.maximum(terms[0], terms[1]), terms[2])
    return top + tf.math.log(tf.add_n([tf.exp(term - top) for term in terms]))
