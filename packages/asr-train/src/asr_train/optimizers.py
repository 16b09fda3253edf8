"""Optimizers as plain arithmetic: each says what it remembers of a weight and how it changes one.

What they remember lies in `TrainingState` under its own name, so that it can be looked at, saved and averaged.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from asr_train.config import TrainConfig


class Optimizer(Protocol):
    """How one weight is changed."""

    @property
    def slots(self) -> tuple[str, ...]:
        """What is remembered of each weight, in tensors of its shape that begin at zero."""
        ...

    def update(
        self, weight: Any, gradient: tf.Tensor, slots: tuple[Any, ...], rate: tf.Tensor, count: tf.Tensor
    ) -> None:
        """Change `weight` and `slots` in place; `count` is the number of this update, from 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Kingma and Ba (2015, arXiv:1412.6980), with the rate corrected for the bias (section 2, last lines).

    `weight_decay` is that of AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101): it shrinks matrices by
    rate * decay a step beside the gradient, and leaves biases and gains alone.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    slots: tuple[str, ...] = ("mean", "square")

    def update(
        self, weight: Any, gradient: tf.Tensor, slots: tuple[Any, ...], rate: tf.Tensor, count: tf.Tensor
    ) -> None:
        """See `Optimizer`."""
        decay(weight, rate, self.weight_decay)
        mean, square = slots
        steps = tf.cast(count, tf.float32)
        tf.raw_ops.ResourceApplyAdam(  # one pass over memory, where plain operations would make ten
            var=weight.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=power(self.beta_1, steps),
            beta2_power=power(self.beta_2, steps),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum: v = momentum v + g, w = w - rate v; decay as in `Adam`."""

    momentum: float = 0.9
    weight_decay: float = 0.0
    slots: tuple[str, ...] = ("velocity",)

    def update(
        self, weight: Any, gradient: tf.Tensor, slots: tuple[Any, ...], rate: tf.Tensor, count: tf.Tensor
    ) -> None:
        """See `Optimizer`."""
        decay(weight, rate, self.weight_decay)
        tf.raw_ops.ResourceApplyMomentum(
            var=weight.handle, accum=slots[0].handle, lr=rate, grad=gradient, momentum=self.momentum
        )


def decay(weight: Any, rate: tf.Tensor, amount: float) -> None:
    """Shrink a matrix, beside the gradient."""
    if amount and weight.shape.rank > 1:
        weight.assign_sub(rate * amount * weight)


def power(base: float, steps: tf.Tensor) -> tf.Tensor:
    """base ^ steps, of which float32 would lose digits where the base is near one."""
    return tf.exp(steps * math.log(base)) if base else tf.zeros_like(steps)


def make_optimizer(config: TrainConfig) -> Optimizer:
    """The configured optimizer."""
    if config.optimizer == "sgd":
        return Sgd(momentum=config.momentum, weight_decay=config.weight_decay)
    return Adam(weight_decay=config.weight_decay if config.optimizer == "adamw" else 0.0)
