"""What is lowered for a TPU is the step that trains: on a CPU, both do the same."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from asr_train.batches import Shape
from asr_train.devices import open_devices
from asr_train.state import TrainingState
from asr_train.steps import Knobs, training_step

ROWS, RATE = 8, 1e-3
SHAPE = Shape(ROWS, 96, 8)


@pytest.fixture(scope="module")
def lowering() -> ModuleType:
    path = Path(__file__).parents[1] / "tpu" / "lower_recipes.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [("librispeech-las-small", {"weight_noise": 0.05}), ("librispeech-deepspeech2", {"optimizer": "sgd"})],
)
def test_the_step_of_tensors_is_that_of_variables(
    lowering: ModuleType, recipe: str, changes: dict[str, object]
) -> None:
    batch = lowering.librispeech.batch_of(recipe, SHAPE, ROWS)
    family, config = lowering.librispeech.family_of(recipe, {"ema_decay": 0.999, **changes})
    state = TrainingState(family.model, config.train)
    first = [v.numpy() for group in state.groups().values() for v in group.values()]
    training_step(family, state, open_devices("cpu", "one"))(batch, Knobs(1, 0, noise=0.05), [RATE, 0, 0, 0])
    expected = [v.numpy() for group in state.groups().values() for v in group.values()]

    run, _ = lowering.training_step(recipe, SHAPE, changes)
    told = [tf.constant([RATE, 0, 0, 0]), tf.constant([1, 0]), tf.constant([1.0, 0.05, 1.0])]
    _, found = tf.function(run, autograph=False)(*map(tf.constant, first), *batch, *told)
    assert sum(not np.array_equal(a, b) for a, b in zip(first, found, strict=True)) > len(first) // 2
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)
