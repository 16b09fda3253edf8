"""What is lowered: whole training steps, greedy searches, and what must be refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

FEATURES, VOCABULARY, FRAMES, LABELS, BATCH = 80, 256, 320, 24, 8
LONGEST = 30
"""Tokens that the greedy search spells at most."""

Lowered = tuple[Callable[..., Any], list[Any]]
"""A function of tensors, and the specifications of its arguments."""

PRESETS = ("deepspeech2", "deepspeech2-small", "deepspeech2-streaming", "deepspeech2-reference")
PRESETS += ("las-small", "las-medium", "las-paper", "las-vgg", "las-reference-small")
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "deepspeech2-small, GRU": ("deepspeech2-small", {"cell": "gru"}),
    "deepspeech2-small, simple RNN": ("deepspeech2-small", {"cell": "rnn"}),
    "deepspeech2-small, side by side, recurrent dropout": (
        "deepspeech2-small",
        {"merge": "concat", "recurrent_dropout": 0.1},
    ),
    "las-small, GRU": ("las-small", {"cell": "gru"}),
    "las-small, no sampling": ("las-small", {"sampling": 0.0}),
    "las-small, sampling of utterances": ("las-small", {"sampling_per": "utterance"}),
    "las-small, CTC too": ("las-small", {"ctc_head": True}),
    "las-small, additive": ("las-small", {"attention": "additive"}),
    "las-small, multi-head": ("las-small", {"attention": "multi-head"}),
    "las-small, tied output": ("las-small", {"tied_output": True}),
}
"""What no preset has: the preset that is varied, and how."""


def pure(function: Callable[..., Any], variables: list[Any], arguments: list[Any]) -> Lowered:
    """Of a function with variables one without: they come in, and go out as they are afterwards.

    A variable lives on a device, and there is none to lower for.
    """
    import keras
    import tensorflow as tf

    def run(*tensors: Any) -> tuple[Any, list[Any]]:
        values, arguments = tensors[: len(variables)], tensors[len(variables) :]
        # A model asks whether it stands on an accelerator, and convolves otherwise where it does not.
        with (
            mock.patch("asr_models.convolve._accelerated", return_value=True),
            keras.StatelessScope(state_mapping=zip(variables, values, strict=True)) as scope,
        ):
            given = function(*arguments)
            return given, [scope.get_current_value(variable) for variable in variables]

    return run, [*(tf.TensorSpec(variable.shape, variable.dtype) for variable in variables), *arguments]


def training_step(
    preset: str,
    changes: Mapping[str, Any] | None = None,
    *,
    policy: str = "float32",
    seeds: tuple[int, ...] = (2,),
    size: tuple[int, int] = (FRAMES, LABELS),
    losses: Callable[..., Any] | None = None,
) -> Lowered:
    """The whole step: forward with dropout, loss, gradients, clipping by their common norm, Adam."""
    import tensorflow as tf
    from training_step import TrainingStep, random_batch

    step = TrainingStep(model_of(preset, changes, policy))
    step.losses = losses or step.losses
    frames, labels = size
    batch = random_batch(batch=BATCH, frames=frames, features=FEATURES, labels=labels, vocabulary=VOCABULARY)
    arguments = [*(tf.TensorSpec(part.shape, part.dtype) for part in batch), tf.TensorSpec(seeds, tf.int32)]
    return pure(step, step.variables, arguments)


def greedy_labels(preset: str) -> Lowered:
    """The best label of each frame."""
    import tensorflow as tf

    model = model_of(preset)

    def search(features: Any, lengths: Any) -> tuple[Any, Any]:
        logits, lengths = model(features, lengths)
        return tf.argmax(logits, -1, output_type=tf.int32), lengths

    return pure(search, model.variables, heard())


def greedy_speller(preset: str) -> Lowered:
    """Listening, and spelling the best token of each step, all utterances side by side, until all have ended."""
    import tensorflow as tf
    from training_step import BEGIN, END

    model = model_of(preset)

    def search(features: Any, lengths: Any) -> tuple[Any, Any]:
        state = model.start(model.listen(features, lengths))
        out = tf.TensorArray(tf.int32, LONGEST, element_shape=[BATCH])

        def body(u: Any, tokens: Any, scores: Any, state: Any, out: Any) -> tuple[Any, ...]:
            log_probs, state = model.step(tokens, state)
            ended = tf.equal(tokens, END)
            tokens = tf.where(ended, END, tf.argmax(log_probs, -1, output_type=tf.int32))
            scores += tf.where(ended, 0.0, tf.reduce_max(log_probs, -1))
            return u + 1, tokens, scores, state, out.write(u, tokens)

        def unfinished(u: Any, tokens: Any, *_: Any) -> Any:
            return tf.logical_and(u < LONGEST, tf.reduce_any(tf.not_equal(tokens, END)))

        first = (0, tf.fill([BATCH], BEGIN), tf.zeros([BATCH]), state, out)
        _, _, scores, _, out = tf.while_loop(unfinished, body, first, maximum_iterations=LONGEST)
        return tf.transpose(out.stack()), scores

    return pure(search, model.variables, heard())


def heard() -> list[Any]:
    """Features and their lengths."""
    import tensorflow as tf

    return [tf.TensorSpec([BATCH, FRAMES, FEATURES]), tf.TensorSpec([BATCH], tf.int32)]


def model_of(preset: str, changes: Mapping[str, Any] | None = None, policy: str = "float32") -> Any:
    import keras

    import asr_models

    config = replace(asr_models.PRESETS[preset], **(changes or {}))
    family = asr_models.Las if isinstance(config, asr_models.LasConfig) else asr_models.DeepSpeech2
    keras.config.set_dtype_policy(policy)  # that of the layers made here
    return family(config, features=FEATURES, vocab_size=VOCABULARY)


def sparse_losses(model: Any, batch: Any, seed: Any) -> tuple[Any, Any]:
    """TensorFlow's own CTC of sparse labels, in the place of ours."""
    import tensorflow as tf

    logits, lengths = model(batch.features, batch.lengths, training=True, seed=seed)
    labels = tf.sparse.from_dense(batch.labels)
    losses = tf.nn.ctc_loss(labels, logits, None, lengths, logits_time_major=False, blank_index=0)
    return losses, batch.label_lengths


def of_numbers(function: Callable[[Any, Any], Any]) -> Lowered:
    """A function of TensorFlow and a few whole numbers."""
    import tensorflow as tf

    return lambda numbers: function(tf, numbers), [tf.TensorSpec([BATCH], tf.int32)]


def fused_lstm(tf: Any, numbers: Any) -> Any:
    """The LSTM kernel of CPUs and GPUs."""
    x = tf.zeros([BATCH, 1, 4]) + tf.cast(numbers, tf.float32)[:, None, None]
    zeros = {name: tf.zeros([1, 4]) for name in ("cs_prev", "h_prev")}
    zeros |= {name: tf.zeros([4]) for name in ("wci", "wcf", "wco")}
    longest = tf.constant(BATCH, tf.int64)
    return tf.raw_ops.BlockLSTMV2(seq_len_max=longest, x=x, w=tf.zeros([8, 16]), b=tf.zeros([16]), **zeros)


STEPS: dict[str, Callable[[], Lowered]] = {name: partial(training_step, name) for name in PRESETS}
STEPS |= {name: partial(training_step, preset, changes) for name, (preset, changes) in VARIANTS.items()}
for _preset in ("deepspeech2-small", "las-small"):
    STEPS |= {
        f"{_preset}, bfloat16": partial(training_step, _preset, policy="mixed_bfloat16"),
        f"{_preset}, a seed for each utterance": partial(training_step, _preset, seeds=(BATCH, 2)),
        f"{_preset}, 1600 frames and 120 labels": partial(training_step, _preset, size=(1600, 120)),
    }
SEARCHES: dict[str, Callable[[], Lowered]] = {
    f"greedy {name}": partial(greedy_speller if name.startswith("las-") else greedy_labels, name) for name in PRESETS
}
CONTROLS: dict[str, tuple[Callable[[], Lowered], str]] = {
    "deepspeech2-small with tf.nn.ctc_loss of sparse labels": (
        partial(training_step, "deepspeech2-small", losses=sparse_losses),
        "CTCLoss",
    ),
    "the LSTM kernel of CPUs and GPUs": (partial(of_numbers, fused_lstm), "BlockLSTMV2"),
    "numbers as strings": (partial(of_numbers, lambda tf, x: tf.strings.as_string(x)), "AsString"),
    "a call of Python": (
        partial(of_numbers, lambda tf, x: tf.numpy_function(lambda y: y, [x], tf.int32)),
        "PyFunc",
    ),
    "zeros, as many as a number says": (partial(of_numbers, lambda tf, x: tf.zeros([x[0]])), "Fill"),
    "tf.where with one argument": (partial(of_numbers, lambda tf, x: tf.where(x > 0)), "Where"),
}
"""What must not pass, and the operation that must be named."""
