"""One step at a time, on one device: what it changes, what it skips, and that it is what it says."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_train.batches import Batch
from asr_train.config import TrainConfig
from asr_train.devices import open_devices, split
from asr_train.errors import UserError
from asr_train.optimizers import Adam, Sgd
from asr_train.state import TrainingState
from asr_train.steps import Knobs, example_seeds, knobs_for, normal, nothing, training_step, weigh

_spec = importlib.util.spec_from_file_location("replicas", Path(__file__).with_name("replicas.py"))
assert _spec is not None and _spec.loader is not None
replicas = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(replicas)

FAMILIES = ("deepspeech2", "las")
NOW = Knobs(1, 0)


def batch_of(number: int) -> Batch:
    return Batch(*map(tf.constant, replicas.batch_of(number)))


class Bench:
    """A state, its step, and what changes."""

    def __init__(self, kind: str, *, fixed: bool = False, **options: Any) -> None:
        self.config = TrainConfig(**{**replicas.CHECKED, **options})
        self.family = replicas.family_of(kind)
        self.state = TrainingState(self.family.model, self.config)
        self.state.begin_average()
        self.step = training_step(self.family, self.state, open_devices("cpu", "one"), fixed_shapes=fixed)
        self.first = self.state.arrays()

    def __call__(self, batch: Batch, knobs: Knobs = NOW, rate: float = 0.05) -> Any:
        return self.step(batch, knobs, [rate])

    def values(self) -> dict[str, Any]:
        return replicas.flat(self.state)


@cache
def built(kind: str, **options: Any) -> Bench:
    return Bench(kind, **options)


def anew(kind: str, **options: Any) -> Bench:
    """A bench as it was when it was built: tracing takes long."""
    bench = built(kind, **options)
    bench.state.assign(bench.first)
    return bench


def rich() -> Bench:
    """With all that few runs have; with the common knobs the model's weights move as those of the plain one.

    Of float16 it is the state's part: the model itself stays float32.
    """
    return anew("las", accumulate=2, weight_noise=0.1, precision="float16")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(params=FAMILIES)
def bench(request: pytest.FixtureRequest) -> Bench:
    return anew(request.param)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_optimizers_are_those_of_keras(optimizer: str) -> None:
    rng, rate = np.random.default_rng(0), 0.03
    first = [rng.normal(size=shape).astype("f4") for shape in ((3, 2), (4,))]
    ours, theirs = ([tf.Variable(value) for value in first] for _ in range(2))
    if optimizer == "sgd":
        own: Any = Sgd(momentum=0.8)
        # Keras scales the gradient before it enters the momentum; with one rate that is the same.
        peer = keras.optimizers.SGD(rate, momentum=0.8)
    else:
        own = Adam(weight_decay=0.1 if optimizer == "adamw" else 0.0)
        peer = keras.optimizers.AdamW(rate, weight_decay=0.1) if optimizer == "adamw" else keras.optimizers.Adam(rate)
    keras_variables = [keras.Variable(value, name=name) for value, name in zip(first, ("kernel", "bias"), strict=True)]
    if optimizer == "adamw":
        peer.exclude_from_weight_decay(var_names=["bias"])
    peer.build(keras_variables)
    slots = [tuple(tf.Variable(tf.zeros_like(v)) for _ in own.slots) for v in ours]
    for count in range(1, 8):
        gradients = [tf.constant(rng.normal(size=v.shape).astype("f4")) for v in theirs]
        for weight, gradient, slot in zip(ours, gradients, slots, strict=True):
            own.update(weight, gradient, slot, tf.constant(rate), tf.constant(count, tf.int64))
        peer.apply(gradients, keras_variables)
    for weight, expected in zip(ours, keras_variables, strict=True):
        np.testing.assert_allclose(weight, expected.numpy(), atol=2e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_step_is_the_clipped_gradient_of_the_loss_a_label(kind: str) -> None:
    bench = anew(kind)
    batch, before = batch_of(0), bench.values()
    outcome = bench(batch)
    again = replicas.family_of(kind)  # the same first weights
    with tf.GradientTape() as tape:
        losses = again.loss(batch, training=True, seed=example_seeds(tf.constant([1, 0]), batch.rows))
        loss = tf.reduce_sum(losses) / float(np.sum(batch.label_lengths))
    weights = [v.value for v in again.model.trainable_variables]
    gradients = [np.array(tf.convert_to_tensor(g)) for g in tape.gradient(loss, weights)]
    norm = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
    assert outcome.norm == pytest.approx(norm, rel=1e-5)
    assert outcome.loss / outcome.labels == pytest.approx(float(loss), rel=1e-5)
    after = bench.values()
    for variable, gradient in zip(again.model.trainable_variables, gradients, strict=True):
        name = f"model/{variable.path}"
        decay = 0.05 * 0.01 if gradient.ndim > 1 else 0.0
        expected = before[name] * (1 - decay) - 0.05 * gradient * min(1.0, 0.5 / norm)
        np.testing.assert_allclose(after[name], expected, atol=1e-6, err_msg=name)


def test_a_row_weighs_and_draws_the_same_wherever_it_stands(bench: Bench) -> None:
    batch, seed = batch_of(3), tf.constant([1, 0])

    def losses(batch: Batch) -> Any:
        seeds = example_seeds(seed, batch.rows)
        return bench.family.loss(batch, training=True, seed=seeds).numpy()

    if hasattr(bench.family.model, "listener"):  # batch statistics make rows depend on each other
        order = np.random.default_rng(0).permutation(len(batch.rows))
        moved = Batch(*(tf.gather(part, order) for part in batch))
        longer = moved._replace(
            features=tf.pad(moved.features, [[0, 0], [0, 5], [0, 0]]), labels=tf.pad(moved.labels, [[0, 0], [0, 3]])
        )
        np.testing.assert_allclose(losses(longer), losses(batch)[order], rtol=1e-5)
    filled = split(batch, 1 + len(batch.rows) // 2)
    assert sum(int(np.sum(part.rows >= 0)) for part in filled) == len(batch.rows)
    assert not np.allclose(losses(batch), losses(batch._replace(rows=batch.rows + 1)), rtol=1e-4)  # other draws


def test_what_fills_a_batch_up_changes_nothing(bench: Bench) -> None:
    before = bench.values()
    outcome = bench(nothing(4, 30, replicas.FEATURES, 5))
    assert (outcome.loss, outcome.labels, outcome.finite) == (0, 0, True)
    assert same(before, bench.values())
    losses, labels = tf.constant([1.0, 2.0, np.inf, 8.0]), tf.constant([3, 4, 5, 6])
    rows = nothing(4, 1, 1, 1)._replace(label_lengths=labels, rows=tf.constant([7, 8, 9, -1]))
    assert [float(x) for x in weigh(losses, rows)] == [3.0, 7.0]


def test_a_batch_that_gives_no_number_is_skipped_whole(bench: Bench) -> None:
    bench(batch_of(0))
    before, broken = bench.values(), batch_of(1)
    features = broken.features.numpy()
    features[1, 3, 2] = np.nan
    outcome = bench(broken._replace(features=tf.constant(features)))
    assert not outcome.finite and not outcome.overflow
    assert same(before, bench.values()), "statistics and counters included"
    assert bench(batch_of(1)).finite and not same(before, bench.values())


def test_gathered_batches_make_the_update_of_one_large_batch() -> None:
    whole, parts = anew("las"), rich()
    batch = batch_of(3)
    assert len(batch.rows) >= 6
    for number, part in enumerate(split(batch, 2)):
        before = parts.values()
        parts(part, NOW._replace(update=number == 1))
        if number == 0:
            assert all(np.array_equal(v, parts.values()[n]) for n, v in before.items() if n.startswith("model/"))
    whole(batch)
    assert parts.state.updates == whole.state.updates == 1
    got = parts.values()
    assert all(not np.any(value) for name, value in got.items() if name.startswith("gathered/"))
    for name, value in whole.values().items():
        if not name.startswith("counters/"):
            np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)


def test_the_average_moves_towards_the_weights(bench: Bench) -> None:
    before = bench.values()
    count = bench.state.updates + 1
    bench(batch_of(2))
    after, decay = bench.values(), min(0.9, (1 + count) / (10 + count))
    for name in bench.state.ema:
        expected = decay * before[f"ema/{name}"] + (1 - decay) * after[f"model/{name}"]
        np.testing.assert_allclose(after[f"ema/{name}"], expected, atol=1e-6)
    with bench.state.averaged():
        name = next(iter(bench.state.ema))
        np.testing.assert_array_equal(bench.values()[f"model/{name}"], after[f"ema/{name}"])
    assert same(after, bench.values())


def test_weight_noise_is_there_for_the_gradient_alone() -> None:
    bench = rich()
    silent = [bench(batch_of(0), NOW, 0.0).loss for _ in range(2)]
    loud = [bench(batch_of(0), NOW._replace(noise=0.1, step=step), 0.0).loss for step in (0, 0, 1)]
    assert silent[0] == silent[1] != loud[0] == loud[1] != loud[2]
    fresh = replicas.family_of("las").model
    for variable in fresh.variables:  # the rate was zero
        np.testing.assert_array_equal(bench.state.everything[variable.path], variable.numpy())
    config = TrainConfig(weight_noise=0.1, weight_noise_start=3, accumulate=2)
    assert [knobs_for(config, step).noise for step in range(8)] == [0] * 6 + [0.1] * 2
    assert [knobs_for(config, step).update for step in range(4)] == [False, True, False, True]


def test_scheduled_sampling_rises() -> None:
    bench, batch = anew("las"), batch_of(0)
    losses = [bench(batch, NOW._replace(sampling=share), 0.0).loss for share in (0.0, 1.0, 0.0)]
    assert losses[0] == losses[2] != losses[1]
    config = TrainConfig(sampling_ramp_steps=4)
    assert [knobs_for(config, step).sampling for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]


def test_frozen_parts_stay() -> None:
    bench = Bench("deepspeech2", freeze=("convolution*",))
    before = bench.values()
    bench(batch_of(0))
    after = bench.values()
    moved = {name for name in before if name.startswith("model/") and not np.array_equal(before[name], after[name])}
    assert moved == {n for n in before if n.startswith("model/") and not n.startswith("model/convolution")}
    assert not any("convolution" in name for name in before if name.startswith("optimizer/"))
    with pytest.raises(UserError, match="nosuch"):
        Bench("las", freeze=("nosuch*",))


def test_an_overflow_halves_the_scale_and_changes_nothing_else() -> None:
    bench, plain = rich(), anew("las")
    bench.state.counters["scale"].assign(3e38)
    before = bench.values()
    outcome = bench(batch_of(0))
    assert outcome.overflow and not outcome.finite
    after = bench.values()
    assert float(after.pop("counters/scale")) < float(before.pop("counters/scale"))
    assert same(before, after)
    bench.state.counters["scale"].assign(1024.0)
    assert bench(batch_of(0)).finite
    plain(batch_of(0))
    got = bench.values()
    for name, value in plain.values().items():
        if name.startswith("model/"):
            np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)
    assert int(got["counters/calm"]) == 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_whole_step_compiles_and_trains_as_without(kind: str) -> None:
    plain, compiled = anew(kind), Bench(kind, fixed=True, jit_compile=True)
    batch, losses = batch_of(0), []
    for step in range(10):
        knobs = knobs_for(plain.config, step)
        expected, got = plain(batch, knobs), compiled(batch, knobs)
        assert got.loss == pytest.approx(expected.loss, rel=1e-4)
        losses.append(got.loss)
    assert losses[-1] < 0.9 * losses[0]  # and it learns


def test_normal_numbers_are_normal_and_never_infinite() -> None:
    drawn = normal([200_000], tf.constant([1, 2])).numpy()
    assert np.isfinite(drawn).all() and abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01
    assert np.mean(np.abs(drawn) > 1.96) == pytest.approx(0.05, abs=0.003)


def test_the_state_goes_into_arrays_and_back(bench: Bench) -> None:
    arrays = {group: {n: v.copy() for n, v in values.items()} for group, values in bench.state.arrays().items()}
    before = bench.values()
    bench(batch_of(4))
    assert not same(before, bench.values())
    bench.state.assign(arrays)
    assert same(before, bench.values())
    lost = {**arrays, "optimizer": {}}
    with pytest.raises(UserError, match=r"step-1: optimizer velocity/.* is missing; was the run made with other"):
        bench.state.assign(lost, "step-1")
    assert same(before, bench.values())
