"""Everything that a training step changes, by name."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_train.config import TrainConfig
from asr_train.errors import UserError
from asr_train.finetune import frozen
from asr_train.optimizers import Optimizer, make_optimizer

Arrays = dict[str, NDArray[Any]]
FIRST_SCALE = 2.0**12
"""Of the loss, with float16."""


class TrainingState:
    """A model, and what training remembers beside it. Built in the scope of a strategy, where there is one.

    Every group maps names to variables; a weight has one name in all of them.

    Attributes:
        weights: what is trained.
        statistics: what the model itself keeps, such as moving means; `frozen` are those that stay.
        slots: what the optimizer keeps of each weight, in its order.
        ema: the moving average of weights and statistics, if there is one.
        gathered: gradients of batches that wait for their update, if an update has several.
        counters: `updates` made; `scale` of the loss and its `calm` steps since an overflow; `labels` gathered.
    """

    def __init__(self, model: keras.Model, config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.optimizer: Optimizer = make_optimizer(config)
        still = frozen((v.path for v in model.variables), config.freeze)
        self.everything = {v.path: v.value for v in model.variables}
        self.weights = {v.path: v.value for v in model.trainable_variables if v.path not in still}
        self.statistics = {v.path: v.value for v in model.non_trainable_variables}
        self.frozen = still & self.statistics.keys()
        self.slots = {
            name: tuple(_like(weight, f"{name}.{slot}") for slot in self.optimizer.slots)
            for name, weight in self.weights.items()
        }
        kept = {**self.weights, **self.statistics} if config.ema_decay is not None else {}
        self.ema = {name: _like(weight, f"{name}.ema", zero=False) for name, weight in kept.items()}
        waiting = self.weights if config.accumulate > 1 else {}
        self.gathered = {name: _like(weight, f"{name}.gathered") for name, weight in waiting.items()}
        self.counters = {
            "updates": _variable(0, tf.int64, "updates"),
            "scale": _variable(FIRST_SCALE if config.precision == "float16" else 1.0, tf.float32, "scale"),
            "calm": _variable(0, tf.int64, "calm"),
            "labels": _variable(0.0, tf.float32, "labels"),
        }

    @property
    def updates(self) -> int:
        """How many there have been."""
        return int(self.counters["updates"].numpy())

    def sources(self) -> list[Any]:
        """What the model computes with, of the weights that are trained: gradients are those of these."""
        return list(self.weights.values())

    def groups(self) -> dict[str, dict[str, Any]]:
        """Every variable: `model`, `optimizer`, `ema`, `gathered` and `counters`."""
        slots = {
            f"{slot}/{name}": variable
            for name, variables in self.slots.items()
            for slot, variable in zip(self.optimizer.slots, variables, strict=True)
        }
        return {
            "model": self.everything,
            "optimizer": slots,
            "ema": self.ema,
            "gathered": self.gathered,
            "counters": self.counters,
        }

    def arrays(self) -> dict[str, Arrays]:
        """The values of `groups`, for a checkpoint."""
        return {
            group: {name: variable.numpy() for name, variable in variables.items()}
            for group, variables in self.groups().items()
        }

    def assign(self, arrays: Mapping[str, Mapping[str, NDArray[Any]]], where: str = "checkpoint") -> None:
        """Set every variable; all are checked first.

        Raises:
            UserError: a variable is missing, unknown or of another shape.
        """
        groups = self.groups()
        for group, variables in groups.items():
            given = arrays.get(group, {})
            for name in sorted(variables.keys() ^ given.keys()):
                lack = "missing" if name in variables else "not one of this run"
                raise UserError(f"{where}: {group} {name} is {lack}; was the run made with other options?")
            for name, variable in variables.items():
                shapes = tuple(given[name].shape), tuple(variable.shape)
                if shapes[0] != shapes[1]:
                    raise UserError(f"{where}: {group} {name} has shape {shapes[0]}, expected {shapes[1]}")
        for group, variables in groups.items():
            for name, variable in variables.items():
                variable.assign(arrays[group][name])

    def begin_average(self) -> None:
        """The average begins as the weights, however they came."""
        for name, variable in self.ema.items():
            variable.assign(self.everything[name].numpy())

    def averaged(self) -> AbstractContextManager[None]:
        """The model has its averaged weights inside the block, if there is an average."""
        return self.wearing({name: variable.numpy() for name, variable in self.ema.items()})

    @contextmanager
    def wearing(self, weights: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """The model has these weights inside the block, and its own ones after it."""
        own = {name: self.everything[name].numpy() for name in weights}
        for name, values in weights.items():
            self.everything[name].assign(values)
        try:
            yield
        finally:
            for name, values in own.items():
                self.everything[name].assign(values)


def _like(weight: Any, name: str, *, zero: bool = True) -> Any:
    values = np.zeros(weight.shape, weight.dtype.as_numpy_dtype) if zero else weight.numpy()
    return _variable(values, weight.dtype, name.replace("/", "."))


def _variable(value: Any, dtype: tf.DType, name: str) -> Any:
    return tf.Variable(value, trainable=False, dtype=dtype, name=name)
