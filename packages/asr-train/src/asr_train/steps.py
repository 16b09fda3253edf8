"""The compiled steps: one update, and the loss without one."""

from collections.abc import Callable

import keras
import tensorflow as tf

from asr_train.batches import Batch
from asr_train.families import Family

Step = Callable[..., tuple[tf.Tensor, tf.Tensor]]
"""`(*batch) -> (summed loss, number of labels)`; that of training takes a seed, too."""


def training_step(family: Family, optimizer: keras.optimizers.Optimizer, clip_norm: float) -> Step:
    """One update, compiled for any shape of batch."""
    variables = family.model.trainable_variables

    def step(*inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        *parts, seed = inputs
        batch = Batch(*parts)
        with tf.GradientTape() as tape:
            total, labels = weigh(family.loss(batch, training=True, seed=seed), batch)
            loss = total / labels
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        norm = tf.linalg.global_norm(gradients)
        # A step whose gradient is not finite leaves the weights to the momentum alone.
        scale = tf.where(tf.math.is_finite(norm), tf.minimum(1.0, clip_norm / (norm + 1e-9)), 0.0)
        gradients = [tf.where(scale > 0, g * scale, tf.zeros_like(g)) for g in map(tf.convert_to_tensor, gradients)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return total, labels

    return tf.function(step, input_signature=[*signature(family), tf.TensorSpec([2], tf.int32)], autograph=False)


def validation_step(family: Family) -> Step:
    """The loss without augmentation, dropout or smoothing, compiled for any shape of batch."""

    def step(*parts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return weigh(family.loss(Batch(*parts), training=False, seed=None), Batch(*parts))

    return tf.function(step, input_signature=list(signature(family)), autograph=False)


def signature(family: Family) -> Batch:
    """Batches of any size and length, so that a new shape costs no new trace."""
    ints = tf.TensorSpec([None], tf.int32)
    features = tf.TensorSpec([None, None, family.model.features], tf.float32)
    return Batch(features, ints, tf.TensorSpec([None, None], tf.int32), ints, ints)


def weigh(losses: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Utterances' losses `(B,)` -> their sum, and the number of labels under it.

    An utterance whose audio is too short for its text has an infinite CTC loss; it is left out of both.
    """
    finite = tf.math.is_finite(losses)
    total = tf.reduce_sum(tf.where(finite, losses, 0.0))
    labels = tf.reduce_sum(tf.where(finite, tf.cast(batch.label_lengths, tf.float32), 0.0))
    return total, tf.maximum(labels, 1.0)
