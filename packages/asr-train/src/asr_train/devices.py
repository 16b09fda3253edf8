"""Where a run is computed: one device, the devices of one machine, workers on many, or a TPU."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from asr_train.batches import Batch
from asr_train.cluster import Cluster
from asr_train.errors import UserError

NO_CHIEF = "strategy workers: no workers are described; set TF_CONFIG, or start with srun (see docs/scaling.md)"


@dataclass(frozen=True)
class Devices:
    """A strategy of TensorFlow, and this process's place in it.

    Every replica computes its rows of a global batch; what crosses between them are sums. So a run's result depends
    on their number by rounding alone.
    """

    strategy: tf.distribute.Strategy
    cluster: Cluster | None = None
    """The workers, where there are several processes."""

    @property
    def chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.cluster is None or self.cluster.chief

    @property
    def shard(self) -> tuple[int, int]:
        """Which of how many equal parts of each global batch this process reads."""
        return (0, 1) if self.cluster is None else (self.cluster.index, len(self.cluster.addresses))

    @property
    def replicas(self) -> int:
        """Of all processes together."""
        return int(self.strategy.num_replicas_in_sync)

    def jit_compile(self, wished: bool) -> bool:
        """Whether XLA is to be asked to compile a whole step; a TPU has no other way, and need not be asked.

        Raises:
            UserError: there are several replicas; XLA cannot compile the sums that cross between them.
        """
        if not wished or isinstance(self.strategy, tf.distribute.TPUStrategy):
            return False
        if self.replicas > 1:
            raise UserError(
                f"train.jit_compile is for one device, and this run has {self.replicas} replicas: set it to false, "
                "or choose train.strategy one"
            )
        return True

    @property
    def local_replicas(self) -> int:
        """Of this process."""
        return self.replicas // self.shard[1]

    def spread(self, batch: Batch, votes: Sequence[float]) -> Any:
        """A process's part of a batch to its replicas, with `votes`, which the first replica alone gives."""
        ballot = tf.constant(votes, tf.float32)
        if self.local_replicas == 1:
            return batch, ballot
        parts = split(batch, self.local_replicas)
        first = self.shard[0] * self.local_replicas

        def part(context: Any) -> Any:
            n = int(context.replica_id_in_sync_group) - first
            return parts[n], ballot if n == 0 else tf.zeros_like(ballot)

        return self.strategy.experimental_distribute_values_from_function(part)

    def spread_spec(self, specs: Any) -> Any:
        """The signature of what `spread` returns, given that of one replica's part."""
        if self.local_replicas == 1:
            return specs
        empty = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=specs)
        return self.strategy.distribute_datasets_from_function(lambda _: empty).element_spec

    def share(self, values: Sequence[float]) -> list[float]:
        """The chief's values, on every worker; all call it at the same point of the run."""
        if self.cluster is None:
            return list(values)
        mine = np.asarray(values, np.float64) if self.chief else np.zeros(len(values))
        return [float(x) for x in _shared(self.strategy, tf.constant(mine))]

    def describe(self) -> str:
        """A line for the log."""
        kinds = sorted({tf.DeviceSpec.from_string(d).device_type for d in self.strategy.extended.worker_devices})
        where = "" if self.cluster is None else f" of {len(self.cluster.addresses)} workers, this is the chief"
        return f"{self.replicas} x {' and '.join(kinds)}{where}"


def across_replicas(*values: tf.Tensor) -> list[tf.Tensor]:
    """Inside `strategy.run`: the sums over all replicas, on each of them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(values)
    # The identity gives a tensor its device, which a strategy asks for.
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in values]))


def _shared(strategy: tf.distribute.Strategy, values: tf.Tensor) -> Any:
    @tf.function(autograph=False)
    def reduce() -> Any:
        def replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group % _local(strategy), 0)
            return across_replicas(tf.where(first, values, tf.zeros_like(values)))[0]

        return strategy.run(replica)

    return strategy.experimental_local_results(reduce())[0].numpy()


def _local(strategy: tf.distribute.Strategy) -> int:
    return len(strategy.extended.worker_devices)


def split(batch: Batch, parts: int) -> list[Batch]:
    """Rows in `parts` equal shares, in order; the last are filled up with rows that weigh nothing."""
    rows = batch.rows.shape[0]
    each = -(-rows // parts)
    missing = each * parts - rows
    padded = [tf.pad(t, [[0, missing], *([[0, 0]] * (t.shape.rank - 1))]) for t in batch[:-1]]
    filled = (*padded, tf.pad(batch.rows, [[0, missing]], constant_values=-1))
    return [Batch(*(t[n * each : (n + 1) * each] for t in filled)) for n in range(parts)]


def open_devices(device: str = "auto", strategy: str = "auto", cluster: Cluster | None = None) -> Devices:
    """Take hold of the devices; with several workers, before TensorFlow has done anything else.

    Args:
        device: cpu, gpu, tpu, or auto for the best that is there.
        strategy: one, mirrored, workers; auto is workers where a cluster is described, all GPUs of the machine
            where there are several, and one device otherwise.
        cluster: the workers.

    Raises:
        UserError: there is no such device, or no description of the workers.
    """
    if device == "tpu":
        return Devices(_tpu())
    if strategy == "workers" or (strategy == "auto" and cluster is not None and len(cluster.addresses) > 1):
        if cluster is None:
            raise UserError(NO_CHIEF)
        return _workers(device, cluster)
    found = _devices(device)
    if strategy == "mirrored" or (strategy == "auto" and len(found) > 1 and "GPU" in found[0]):
        return Devices(_mirrored(found))
    return Devices(tf.distribute.OneDeviceStrategy(found[0]))


def _devices(device: str) -> list[str]:
    """Names of this machine's devices of a kind."""
    gpus = [gpu.name for gpu in tf.config.list_logical_devices("GPU")] if device != "cpu" else []
    if device == "gpu" and not gpus:
        raise UserError("device gpu: TensorFlow finds none here; install tensorflow[and-cuda], or choose device cpu")
    return gpus or [cpu.name for cpu in tf.config.list_logical_devices("CPU")]


def _mirrored(devices: list[str]) -> tf.distribute.Strategy:
    reduction = tf.distribute.ReductionToOneDevice() if "CPU" in devices[0] else None  # NCCL is for GPUs
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _workers(device: str, cluster: Cluster) -> Devices:
    os.environ["TF_CONFIG"] = cluster.tf_config()
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        _devices("gpu")
    if device == "cpu" or not gpus:
        tf.config.set_visible_devices([], "GPU")
        way = tf.distribute.experimental.CommunicationImplementation.RING
    else:
        way = tf.distribute.experimental.CommunicationImplementation.AUTO
    options = tf.distribute.experimental.CommunicationOptions(implementation=way)
    with _own_sigterm():
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(communication_options=options), cluster)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Undo what TensorFlow does when workers meet: it catches SIGTERM for good, and the process outlives it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"device tpu: none can be reached (TPU_NAME names it): {reason}") from None
    return tf.distribute.TPUStrategy(resolver)
