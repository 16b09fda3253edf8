"""Losses over padded batches: one number an utterance, each from its own length; and how they are averaged."""

from typing import Any

import tensorflow as tf

from asr_models.ctc import ctc_feasible, ctc_loss

__all__ = [
    "AVERAGES",
    "accuracy",
    "average_loss",
    "correct_tokens",
    "cross_entropy",
    "ctc_feasible",
    "ctc_loss",
    "joint_loss",
]

AVERAGES = ("token", "utterance", "utterance-token")


def cross_entropy(logits: Any, labels: Any, lengths: Any, *, smoothing: float = 0.0) -> Any:
    """Label-smoothed cross-entropy, summed over the tokens of each utterance.

    Args:
        logits: `(B, U, V)`.
        labels: `(B, U)` integers; what stands beyond `lengths` is not read.
        lengths: `(B,)` integers.
        smoothing: the share of the target spread evenly over the vocabulary (Szegedy et al., 2015).

    Returns:
        `(B,)` float32, natural log.

    Raises:
        ValueError: `smoothing` is no share.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"cross_entropy: smoothing is {smoothing}, expected a share between 0 and 1")
    real, labels = _real(labels, lengths)
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    # Chosen, not gathered: the gradient of a gather over three axes is a slow sum of segments.
    chosen = tf.equal(labels[..., None], tf.range(tf.shape(log_probs)[-1]))
    target = tf.reduce_sum(tf.where(chosen, log_probs, 0.0), -1)
    each = (1 - smoothing) * target + smoothing * tf.reduce_mean(log_probs, -1) if smoothing else target
    return -tf.reduce_sum(tf.where(real, each, 0.0), -1)


def joint_loss(spelled: Any, ctc: Any, *, ctc_weight: float) -> Any:
    """`(1 - w)` of the speller's loss and `w` of CTC on its listener (Kim et al., 2017, arXiv:1609.06773).

    Args:
        spelled: `(B,)`, cross-entropy.
        ctc: `(B,)`; where it is infinite, a text too long for a path, the utterance counts by `spelled` alone.
        ctc_weight: w.

    Returns:
        `(B,)` float32.

    Raises:
        ValueError: `ctc_weight` is no share.
    """
    if not 0 <= ctc_weight <= 1:
        raise ValueError(f"joint_loss: ctc_weight is {ctc_weight}, expected a share between 0 and 1")
    infinite = tf.math.is_inf(ctc)
    # Made finite first: in a gradient 0 * inf would be no number.
    joint = (1 - ctc_weight) * spelled + ctc_weight * tf.where(infinite, 0.0, ctc)
    return tf.where(infinite, spelled, joint)


def average_loss(losses: Any, lengths: Any, *, by: str = "token") -> Any:
    """One number for the batch. Infinite losses are left out, with their tokens.

    Args:
        losses: `(B,)`, of whole utterances.
        lengths: `(B,)` integers, their numbers of tokens.
        by: "token", the sum over all tokens, long texts count more; "utterance", the mean of the losses;
            "utterance-token", the mean of each loss over its own number of tokens, as in PyTorch's
            `CTCLoss(reduction="mean")`.

    Returns:
        Scalar float32; 0 if nothing is left.

    Raises:
        ValueError: `by` is none of these.
    """
    if by not in AVERAGES:
        raise ValueError(f"average_loss: by is {by!r}, expected one of {', '.join(AVERAGES)}")
    infinite = tf.math.is_inf(losses)
    counted = tf.cast(tf.logical_not(infinite), tf.float32)
    losses, tokens = tf.where(infinite, 0.0, losses), tf.cast(lengths, tf.float32)
    if by == "utterance-token":
        losses = losses / tf.maximum(tokens, 1.0)
    return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(counted * tokens if by == "token" else counted))


def correct_tokens(logits: Any, labels: Any, lengths: Any) -> Any:
    """How many tokens of each utterance the best logit names, `(B,)` int32, of `lengths`.

    Args:
        logits: `(B, U, V)`.
        labels: `(B, U)` integers; what stands beyond `lengths` is not read.
        lengths: `(B,)` integers.
    """
    real, labels = _real(labels, lengths)
    right = tf.equal(tf.argmax(logits, -1, output_type=tf.int32), labels)
    return tf.reduce_sum(tf.cast(tf.logical_and(real, right), tf.int32), -1)


def accuracy(logits: Any, labels: Any, lengths: Any) -> Any:
    """The share of all tokens of the batch that the best logit names, scalar float32; 0 of none.

    Args:
        logits: `(B, U, V)`.
        labels: `(B, U)` integers; what stands beyond `lengths` is not read.
        lengths: `(B,)` integers.
    """
    right = tf.reduce_sum(correct_tokens(logits, labels, lengths))
    return tf.math.divide_no_nan(tf.cast(right, tf.float32), tf.cast(tf.reduce_sum(lengths), tf.float32))


def _real(labels: Any, lengths: Any) -> tuple[Any, Any]:
    """Where labels are real, `(B, U)` bool, and the labels as int32, 0 elsewhere."""
    labels = tf.cast(labels, tf.int32)
    real = tf.sequence_mask(tf.cast(lengths, tf.int32), labels.shape[1] or tf.shape(labels)[1])
    return real, tf.where(real, labels, 0)
