"""The doors out of TensorFlow: numpy log-probabilities for a CTC decoder, a step function for an attention search,
a SavedModel for serving, and weights as arrays by name or as a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.attention import Memory
from asr_models.deepspeech2 import DeepSpeech2
from asr_models.interfaces import AcousticModel, Encoded
from asr_models.las import Las
from asr_models.speller import SpellerState
from asr_models.tensor_file import read_tensors, write_tensors


def log_probabilities(
    model: AcousticModel, features: tf.Tensor | NDArray[np.float32], lengths: tf.Tensor | NDArray[np.int32]
) -> list[NDArray[np.float32]]:
    """Natural log-probabilities of each utterance, `(T', V)` float32, cut to its own length.

    Args:
        model: an acoustic model.
        features: `(B, T, F)` float32.
        lengths: `(B,)` int32.
    """
    logits, frames = model(tf.cast(features, tf.float32), tf.cast(lengths, tf.int32))
    scores = tf.nn.log_softmax(logits).numpy()
    return [row[:count] for row, count in zip(scores, frames.numpy(), strict=True)]


class SpellerStep:
    """A Las as the step function of an attention search.

    The listener and the step are traced once, for any batch, number of frames and number of beams.

    Args:
        model: the Las.
        tensors: give log-probabilities as tensors, for a search in a TensorFlow graph, instead of numpy.
        alignments: give a third value, where each token was heard, `(N, T')`.
    """

    def __init__(self, model: Las, *, tensors: bool = False, alignments: bool = False) -> None:
        self.model, self.tensors, self.alignments = model, tensors, alignments
        self._listen = tf.function(
            self._start,
            input_signature=[*_batch_signature(model), tf.TensorSpec([], tf.int32)],
            autograph=False,
        )
        self._step = tf.function(model.step, reduce_retracing=True, autograph=False)

    def _start(self, features: tf.Tensor, lengths: tf.Tensor, beams: tf.Tensor) -> tuple[Any, tf.Tensor]:
        memory: Encoded = self.model.listen(features, lengths)
        return self.model.start(memory, beams=beams), memory.lengths

    def start(self, features: Any, lengths: Any, *, beams: int = 1) -> tuple[Any, NDArray[np.int32]]:
        """`features` `(B, T, F)`, `lengths` `(B,)` -> the state of `B * beams` rows, and the frames of each memory."""
        state, frames = self._listen(tf.cast(features, tf.float32), tf.cast(lengths, tf.int32), beams)
        return state, frames.numpy()

    def __call__(self, tokens: Any, state: Any, /) -> Any:
        """`tokens` `(N,)`, numpy or tensor -> natural log-probabilities `(N, V)`, and the new state (tensors)."""
        log_probs, state = self._step(tf.cast(tokens, tf.int32), state)
        given = [log_probs, state.alignment] if self.alignments else [log_probs]
        log_probs, *rest = given if self.tensors else [value.numpy() for value in given]
        return log_probs, state, *rest


def _batch_signature(model: Any) -> list[tf.TensorSpec]:
    """Features and lengths of any batch."""
    channels = [model.channels] if model.channels > 1 else []
    return [
        tf.TensorSpec([None, None, model.features, *channels], tf.float32, "features"),
        tf.TensorSpec([None], tf.int32, "lengths"),
    ]


def export(model: DeepSpeech2 | Las, folder: str | Path) -> None:
    """Write a SavedModel, for TensorFlow Serving or `tf.saved_model.load`; batches and lengths vary freely.

    DeepSpeech2 has one signature, `serving_default`: features `(B, T, F)` and lengths `(B,)` to `log_probs`
    `(B, T', V)` and `lengths`. A Las has two: `start`, from features, lengths and beams `()` to `frames` `(B,)` and the
    state `state_0`, `state_1`, ...; `step`, from tokens `(N,)` and the state to `log_probs` `(N, V)`, `alignment`
    `(N, T')` and the next state.
    """
    module = tf.Module()
    # TensorFlow finds variables in lists, not in every container that a layer may keep them in.
    module.weights = [variable.value for variable in model.variables]
    if isinstance(model, Las):
        signatures = _las_signatures(model)
    else:

        def serve(features: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, frames = model(features, lengths)
            return {"log_probs": tf.nn.log_softmax(logits), "lengths": frames}

        signatures = {"serving_default": tf.function(serve, input_signature=_batch_signature(model), autograph=False)}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _las_signatures(model: Las) -> dict[str, Any]:
    spec = _state_spec(model)
    names = [f"state_{n}" for n in range(len(tf.nest.flatten(spec)))]

    def flat(state: SpellerState) -> dict[str, tf.Tensor]:
        return dict(zip(names, tf.nest.flatten(state), strict=True))

    def start(features: tf.Tensor, lengths: tf.Tensor, beams: tf.Tensor) -> dict[str, tf.Tensor]:
        memory = model.listen(features, lengths)
        return {"frames": memory.lengths, **flat(model.start(memory, beams=beams))}

    def step(tokens: tf.Tensor, **parts: tf.Tensor) -> dict[str, tf.Tensor]:
        state = tf.nest.pack_sequence_as(spec, [parts[name] for name in names])
        log_probs, state = model.step(tokens, state)
        return {"log_probs": log_probs, "alignment": state.alignment, **flat(state)}

    signature = [*_batch_signature(model), tf.TensorSpec([], tf.int32, "beams")]
    named = {name: tf.TensorSpec(part.shape, part.dtype, name) for name, part in flat(spec).items()}
    return {
        "start": tf.function(start, input_signature=signature, autograph=False),
        "step": tf.function(step, autograph=False).get_concrete_function(
            tf.TensorSpec([None], tf.int32, "tokens"), **named
        ),
    }


def _state_spec(model: Las) -> SpellerState:
    """The state with any number of rows, utterances and frames."""
    example = model.start(Encoded(tf.zeros([1, 1, model.listener.width]), tf.ones([1], tf.int32)))

    def rows(part: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, *part.shape[1:]], part.dtype)

    def frames(part: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, None, *part.shape[2:]], part.dtype)

    return SpellerState(
        tuple(map(rows, example.hidden)),
        tuple(map(rows, example.cells)),
        rows(example.context),
        frames(example.alignment),
        Memory(*map(frames, example.memory)),
    )


def weights_of(model: keras.Model) -> dict[str, NDArray[Any]]:
    """A model's weights by name, copied; what `safetensors.numpy.save_file` or `numpy.savez` take as they are."""
    return {variable.path: np.asarray(variable).copy() for variable in model.variables}


def assign_weights(model: keras.Model, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set every weight of a model, or none.

    Raises:
        ValueError: a weight is missing, not one of the model's, or of another shape.
    """
    variables = {variable.path: variable for variable in model.variables}
    for name in sorted(variables.keys() ^ arrays.keys()):
        raise ValueError(f"weight {name} is {'missing' if name in variables else 'not one of this model'}")
    for name, variable in variables.items():
        if tuple(variable.shape) != tuple(arrays[name].shape):
            raise ValueError(
                f"weight {name} has shape {tuple(arrays[name].shape)}, expected {tuple(variable.shape)}: "
                "was the model built with the same configuration, features and vocabulary?"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def save_weights(model: keras.Model, path: str | Path) -> None:
    """Write a model's weights as a safetensors file."""
    write_tensors(path, weights_of(model))


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Set every weight of a model from a safetensors file, or none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no safetensors file; or a weight is missing, not one of the model's, or of another shape.
    """
    arrays = read_tensors(path)
    try:
        assign_weights(model, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
