"""The compiled steps: one update, and the loss without one.

Each replica computes the sums of its rows; the sums cross between the replicas, and all of them then do the same:
divide by the labels of the global batch, clip, and change their copy of the weights, or skip a step that is no number.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from asr_train.batches import Batch
from asr_train.config import TrainConfig
from asr_train.devices import Devices, across_replicas
from asr_train.families import Family
from asr_train.state import TrainingState

CALM_STEPS = 2000
"""Steps without an overflow after which the scale of the loss doubles."""
LARGEST_SCALE = 2.0**24
LABELS = "labels"


class Outcome(NamedTuple):
    """What became of a global batch; the same on all replicas."""

    loss: float
    """Summed over the utterances that have one."""
    labels: float
    """Under that sum."""
    norm: float
    """Length of the gradient of loss / labels, before it is clipped."""
    finite: bool
    """Whether loss and gradient are numbers; if not, the batch changed nothing."""
    overflow: bool
    """Not finite because of the scale of the loss, which is smaller now; nothing to worry about."""
    votes: tuple[float, ...]
    """Sums of what the processes wished."""


class Knobs(NamedTuple):
    """What a step is told beside its batch."""

    seed: int
    step: int
    sampling: float = 1.0
    """Part of the model's scheduled sampling."""
    noise: float = 0.0
    """Standard deviation of weight noise."""
    update: bool = True
    """Whether the gradients so far make an update now."""


def training_step(
    family: Family, state: TrainingState, devices: Devices, *, fixed_shapes: bool = False
) -> Callable[[Batch, Knobs, Sequence[float]], Outcome]:
    """One global batch: `step(this process's part, knobs, votes)`; the first vote is the learning rate.

    The chief alone votes for a rate, so that workers whose clocks differ use one.

    Args:
        family: the model and its loss.
        state: what the step changes.
        devices: where it runs.
        fixed_shapes: trace (and with `jit_compile`, compile) once a shape, instead of once for any.

    Raises:
        UserError: `jit_compile` with several replicas.
    """
    compiled = devices.jit_compile(state.config.jit_compile)
    told = (tf.TensorSpec([2], tf.int32), tf.TensorSpec([3], tf.float32))
    signature = None if fixed_shapes else (*any_shape(family, devices), *told)
    run = _on_all(replica_step(family, state), devices, signature, jit_compile=compiled)

    def step(batch: Batch, knobs: Knobs, votes: Sequence[float]) -> Outcome:
        part, ballot = devices.spread(batch, votes)
        told = tf.constant([knobs.sampling, knobs.noise, float(knobs.update)])
        values = run(part, ballot, tf.constant([knobs.seed, knobs.step]), told)
        total, labels, norm, finite, scaled, votes = (value.numpy() for value in values)
        overflow = bool(not finite and scaled)
        return Outcome(float(total), float(labels), float(norm), bool(finite), overflow, tuple(map(float, votes)))

    return step


def replica_step(family: Family, state: TrainingState) -> Callable[..., tuple[tf.Tensor, ...]]:
    """What each replica does of a step: `replica(rows, votes, (seed, step), knobs)`, tensors to those of an Outcome."""

    def replica(batch: Batch, ballot: tf.Tensor, seed: tf.Tensor, knobs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        before = {name: tf.identity(variable) for name, variable in state.statistics.items()}
        sums = _gradients(family, state, batch, seed, knobs)
        total, labels, votes, *gradients = across_replicas(*sums[:2], ballot, *sums[2])
        scale = tf.identity(state.counters["scale"])
        norm = tf.linalg.global_norm(gradients) / (scale * tf.maximum(labels, 1.0))
        finite = tf.math.is_finite(norm) & tf.math.is_finite(total)
        real = labels > 0
        for name, variable in state.statistics.items():
            keep = tf.logical_not(finite & real) | (name in state.frozen)
            variable.assign(tf.where(keep, before[name], variable))
        _update(state, [g / scale for g in gradients], labels, votes[0], finite & real, knobs[2] > 0)
        if state.config.precision == "float16":
            _rescale(state, finite, real)
        return total, labels, norm, finite, (scale > 1) & tf.math.is_finite(total), votes

    return replica


def validation_step(
    family: Family, devices: Devices, *, fixed_shapes: bool = False
) -> Callable[..., tuple[float, float]]:
    """Summed loss and number of labels of a global batch, without augmentation, dropout or smoothing."""

    def replica(batch: Batch, ballot: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(across_replicas(*weigh(family.loss(batch, training=False, seed=None), batch)))

    run = _on_all(replica, devices, None if fixed_shapes else any_shape(family, devices), jit_compile=False)

    def step(batch: Batch) -> tuple[float, float]:
        total, labels = run(*devices.spread(batch, [0.0]))
        return float(total), float(labels)

    return step


def _on_all(replica: Callable[..., Any], devices: Devices, signature: Any, *, jit_compile: bool) -> Callable[..., Any]:
    """A function that runs on every replica of the strategy, and gives what the first of this process gives."""

    def everywhere(*inputs: Any) -> Any:
        return devices.strategy.run(replica, args=inputs)

    compiled = tf.function(everywhere, input_signature=signature, autograph=False, jit_compile=jit_compile or None)
    return lambda *inputs: [devices.strategy.experimental_local_results(v)[0] for v in compiled(*inputs)]


def any_shape(family: Family, devices: Devices) -> tuple[Any, ...]:
    """Batches of any size and length with their votes, so that a new shape costs no new trace."""
    ints = tf.TensorSpec([None], tf.int32)
    features = tf.TensorSpec([None, None, family.model.features], tf.float32)
    batch = Batch(features, ints, tf.TensorSpec([None, None], tf.int32), ints, ints)
    return tuple(devices.spread_spec((batch, tf.TensorSpec([None], tf.float32))))


def _gradients(
    family: Family, state: TrainingState, batch: Batch, seed: tf.Tensor, knobs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Summed loss, its labels, and the gradient of the sum times the scale of the loss, of one replica's rows."""
    clean = _add_noise(state, knobs[1], seed) if state.config.weight_noise else {}
    sources = state.sources()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        losses = family.loss(batch, training=True, seed=example_seeds(seed, batch.rows), sampling=knobs[0])
        total, labels = weigh(losses, batch)
        scaled = total * state.counters["scale"]
    gradients = tape.gradient(scaled, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for name, values in clean.items():
        state.weights[name].assign(values)
    return total, labels, [tf.convert_to_tensor(g) for g in gradients]


def _add_noise(state: TrainingState, deviation: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Normal noise on every matrix, the same on all replicas; returns the matrices without it."""
    clean = {name: tf.identity(w) for name, w in state.weights.items() if w.shape.rank > 1}
    for place, (name, values) in enumerate(clean.items()):
        own = tf.random.experimental.stateless_fold_in(seed, place, alg="philox")
        state.weights[name].assign(values + deviation * normal(values.shape, own))
    return clean


def normal(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers, from whole ones: those of TensorFlow itself are others under XLA."""
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    # 24 bits, as odd multiples of 2^-24 between -1 and 1: never at the ends, where the result is infinite
    centred = (tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) + 0.5) * 2.0**-23
    return tf.sqrt(2.0) * tf.math.erfinv(tf.clip_by_value(centred, -1 + 2.0**-23, 1 - 2.0**-23))


def _update(
    state: TrainingState,
    gradients: list[tf.Tensor],
    labels: tf.Tensor,
    rate: tf.Tensor,
    usable: tf.Tensor,
    due: tf.Tensor,
) -> None:
    """Gather a batch's gradients if they are usable, and change the weights if an update is due."""
    if state.gathered:
        held = state.counters[LABELS]
        for variable, gradient in zip(state.gathered.values(), gradients, strict=True):
            variable.assign_add(tf.where(usable, gradient, tf.zeros_like(gradient)))
        held.assign_add(tf.where(usable, labels, 0.0))
        gradients, labels = [tf.identity(v) for v in state.gathered.values()], tf.identity(held)
        usable = due & (labels > 0)

    def apply() -> tf.Tensor:
        means = [g / labels for g in gradients]
        norm = tf.linalg.global_norm(means)
        shrink = tf.minimum(1.0, state.config.clip_norm / (norm + 1e-9))
        count = state.counters["updates"].assign_add(1)
        for (name, weight), mean in zip(state.weights.items(), means, strict=True):
            state.optimizer.update(weight, mean * shrink, state.slots[name], rate, count)
        _average(state, tf.cast(count, tf.float32))
        for variable in (*state.gathered.values(), *([state.counters[LABELS]] if state.gathered else [])):
            variable.assign(tf.zeros_like(variable))
        return tf.constant(True)

    tf.cond(usable, apply, lambda: tf.constant(False))


def _average(state: TrainingState, count: tf.Tensor) -> None:
    """Move the average towards the weights; it moves faster at first, while they are far from it."""
    if state.config.ema_decay is not None:
        decay = tf.minimum(state.config.ema_decay, (1 + count) / (10 + count))
        for name, average in state.ema.items():
            average.assign_sub((1 - decay) * (average - state.everything[name]))


def _rescale(state: TrainingState, finite: tf.Tensor, real: tf.Tensor) -> None:
    """Halve the scale of the loss after an overflow, double it after many steps without one."""
    scale, calm = state.counters["scale"], state.counters["calm"]
    steps = tf.where(finite, calm + tf.cast(real, tf.int64), tf.zeros_like(calm))
    grown = steps >= CALM_STEPS
    changed = tf.where(finite, tf.where(grown, scale * 2, scale), scale / 2)
    scale.assign(tf.clip_by_value(changed, 1.0, LARGEST_SCALE))
    calm.assign(tf.where(grown, tf.zeros_like(steps), steps))


def example_seeds(seed: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`(2,)` and the numbers of utterances `(B,)` -> `(B, 2)`: random numbers that go with the utterance."""
    key = tf.random.stateless_uniform([2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    return tf.stack([tf.bitwise.bitwise_xor(key[0], rows), tf.zeros_like(rows) + key[1]], -1)


def weigh(losses: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Utterances' losses `(B,)` -> their sum, and the number of labels under it.

    Left out of both are rows that fill up a batch, and utterances whose audio is too short for their text: their CTC
    loss is infinite. A loss that is no number stays, and spoils the sum.
    """
    counted = (batch.rows >= 0) & tf.logical_not(tf.math.is_inf(losses))
    total = tf.reduce_sum(tf.where(counted, losses, tf.zeros_like(losses)))
    return total, tf.reduce_sum(tf.where(counted, tf.cast(batch.label_lengths, tf.float32), 0.0))


def nothing(rows: int, frames: int, features: int, labels: int) -> Batch:
    """A batch of a shape without an utterance in it: all the work, and no change."""
    zeros = tf.zeros([rows], tf.int32)
    return Batch(tf.zeros([rows, frames, features]), zeros, tf.zeros([rows, labels], tf.int32), zeros, zeros - 1)


def knobs_for(config: TrainConfig, step: int) -> Knobs:
    """What a step is told, from its number."""
    updates = step // config.accumulate
    ramp = min(1.0, updates / config.sampling_ramp_steps) if config.sampling_ramp_steps else 1.0
    noise = config.weight_noise if updates >= config.weight_noise_start else 0.0
    return Knobs(config.seed, step, ramp, noise, (step + 1) % config.accumulate == 0)
