"""First values of weights, drawn from the generator that the model is given."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_backend = keras.config.backend()
if _backend != "tensorflow":
    raise ImportError(f"asr_models needs Keras on TensorFlow, not on {_backend}: set KERAS_BACKEND=tensorflow")

Floats = NDArray[np.float32]


def glorot(rng: np.random.Generator, *shape: int) -> Floats:
    """Uniform in +-sqrt(6 / (fan in + fan out)); the last axis is the output (Glorot and Bengio, 2010)."""
    field = int(np.prod(shape[:-2]))
    limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def orthogonal(rng: np.random.Generator, size: int) -> Floats:
    """A random orthogonal `(size, size)` matrix (Saxe et al., 2013)."""
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    # The signs make the distribution uniform over the orthogonal group.
    return (q * np.sign(np.diag(r))).astype(np.float32)


def weight(layer: keras.Layer, name: str, value: Floats, *, trainable: bool = True, autocast: bool = False) -> Any:
    """A variable of `layer` that starts as `value`.

    It is read as float32 under any policy; a layer casts what its large products read, and nothing else. With
    `autocast` Keras casts it.
    """
    return layer.add_weight(
        shape=value.shape, initializer=lambda *_, **__: value, name=name, trainable=trainable, autocast=autocast
    )
