"""Lowers whole training steps and the greedy search for a TPU, on a machine that has none, and names what it refuses.

    pip install tensorflow-tpu==2.20.0 && pip uninstall -y libtpu
    python tpu/lower.py [NAME ...]

TensorFlow's bridge needs the kernels that are registered for a TPU. They are in the `tensorflow-tpu` wheel, which takes
an environment of its own, for it cannot stand beside `tensorflow`. The driver that comes with it, libtpu, stops the
process where there is no TPU. The package is taken from the repository, not installed: it asks for a newer TensorFlow.
What is lowered is HLO, before XLA's own compiler: an operation, a dynamic shape or a string that a TPU cannot have is
found, a lack of memory is not.

Ends with status 1 if anything is refused.
"""

import argparse
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PACKAGE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PACKAGE / "src"), str(PACKAGE / "benchmarks")]

FEATURES, VOCABULARY, FRAMES, LABELS, BATCH = 80, 256, 320, 24, 8
LONGEST = 30
"""Tokens that the greedy search spells at most."""
PRESETS = ("deepspeech2", "deepspeech2-small", "deepspeech2-streaming", "deepspeech2-reference")
PRESETS += ("las-small", "las-medium", "las-paper", "las-vgg", "las-reference-small")

Lowered = tuple[Callable[..., Any], list[Any]]
"""A function of tensors, and the specifications of its arguments."""


def pure(function: Callable[..., Any], variables: list[Any], arguments: list[Any]) -> Lowered:
    """Of a function with variables one without: they come in, and go out as they are afterwards.

    A variable lives on a device, and there is none to lower for.
    """
    import keras
    import tensorflow as tf

    def run(*tensors: Any) -> tuple[Any, list[Any]]:
        values, arguments = tensors[: len(variables)], tensors[len(variables) :]
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)) as scope:
            given = function(*arguments)
            return given, [scope.get_current_value(variable) for variable in variables]

    return run, [*(tf.TensorSpec(variable.shape, variable.dtype) for variable in variables), *arguments]


def training_step(name: str) -> Lowered:
    """The whole step of a preset: loss, gradients, clipping, Adam."""
    import tensorflow as tf
    from training_step import TrainingStep, random_batch

    step = TrainingStep(model_of(name))
    size = {"batch": BATCH, "frames": FRAMES, "features": FEATURES, "labels": LABELS, "vocabulary": VOCABULARY}
    batch = [tf.TensorSpec(part.shape, part.dtype) for part in random_batch(**size)]
    return pure(step, step.variables, [*batch, tf.TensorSpec([2], tf.int32)])


def greedy(name: str) -> Lowered:
    """Listening, and spelling the best token of each step, all utterances side by side."""
    import tensorflow as tf
    from training_step import BEGIN, END

    model = model_of(name)

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

    arguments = [tf.TensorSpec([BATCH, FRAMES, FEATURES]), tf.TensorSpec([BATCH], tf.int32)]
    return pure(search, model.variables, arguments)


def strings(_: str) -> Lowered:
    """What no TPU has: if this is lowered, nothing here says anything."""
    import tensorflow as tf

    return lambda numbers: tf.strings.as_string(numbers), [tf.TensorSpec([BATCH], tf.int32)]


def model_of(name: str) -> Any:
    import asr_models

    config = asr_models.PRESETS[name]
    family = asr_models.Las if isinstance(config, asr_models.LasConfig) else asr_models.DeepSpeech2
    return family(config, features=FEATURES, vocab_size=VOCABULARY)


PROGRAMS = {name: (training_step, name) for name in PRESETS}
PROGRAMS |= {f"greedy {name}": (greedy, name) for name in PRESETS if name.startswith("las-")}


def refused(lowered: Lowered) -> tuple[str, int]:
    """What a TPU refuses of it, in a line, or nothing; and the length of what it is given."""
    import tensorflow as tf

    function, arguments = lowered
    compiled = tf.function(function, jit_compile=True, autograph=False)
    try:
        text = compiled.experimental_get_compiler_ir(*arguments)(stage="hlo", platform_name="TPU")
    except Exception as error:  # of any kind: it is told, and the next one is lowered
        return reason(str(error)), 0
    return "", len(text)


def reason(error: str) -> str:
    """The operations that an error of the bridge names, else its first line."""
    operations = dict.fromkeys(re.findall(r"No registered '(\w+)' OpKernel for XLA_TPU_JIT", error))
    places = re.findall(r'File "([^"]+)", line (\d+)', error)
    ours = [f"{Path(file).name}:{line}" for file, line in places if str(PACKAGE) in file]
    what = f"a TPU has no {', '.join(operations)}" if operations else error.strip().splitlines()[0][:300]
    return f"{what} (called at {ours[-1]})" if ours else what


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PROGRAMS)}; all if none is given")
    names = parser.parse_args().names or list(PROGRAMS)
    if unknown := sorted(set(names) - PROGRAMS.keys()):
        parser.error(f"no program {', '.join(unknown)}: expected some of {', '.join(PROGRAMS)}")
    if importlib.util.find_spec("libtpu"):
        parser.error("libtpu is installed, and would look for a TPU: pip uninstall -y libtpu")
    complaint, _ = refused(strings(""))
    if "AsString" not in complaint:
        parser.error(
            f"this TensorFlow knows nothing of TPUs, install tensorflow-tpu: {complaint or 'it takes strings'}"
        )
    failed = 0
    for name in names:
        make, preset = PROGRAMS[name]
        start = time.perf_counter()
        complaint, size = refused(make(preset))
        told = f"REFUSED: {complaint}" if complaint else f"lowered, {size / 1e6:.1f} MB of HLO"
        print(f"{name}: {told} ({time.perf_counter() - start:.0f} s)", flush=True)
        failed += bool(complaint)
    print(f"{len(names) - failed} of {len(names)} lowered for a TPU")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
