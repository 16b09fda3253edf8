"""How well the data keeps up with the training: the wait for batches, and the share of them that is padding."""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What a `Meter` saw since it was last asked."""

    batches: int
    utterances: int
    padding: float
    """The share of frames that are padding, 0 to 1."""
    wait: float
    """Seconds for which the training stood still for want of a batch."""
    elapsed: float
    """Seconds in all, waiting and training."""
    reading: float
    """CPU seconds of the reading threads."""

    @property
    def wait_share(self) -> float:
        """The share of the time that was spent waiting."""
        return self.wait / self.elapsed if self.elapsed else 0.0


@dataclass
class Meter:
    """Counts what is read, in many threads, and the time that is waited in one."""

    _sums: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; measures how long each was waited for, and how long all took."""
        iterator = iter(batches)
        before = time.perf_counter()
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                got = time.perf_counter()
                self._add(wait=got - asked, elapsed=got - before)
                before = got
            yield batch

    def read(self, lengths: NDArray[np.int32], frames: int, cpu: float) -> None:
        """Count a batch of utterances of these lengths, padded to `frames` each, and the CPU seconds that it took."""
        self._add(
            batches=1,
            utterances=int(np.count_nonzero(lengths)),
            frames=float(lengths.sum()),
            padded=float(len(lengths) * frames),
            reading=cpu,
        )

    def take(self) -> Supply:
        """What was counted since the last call; counting begins anew."""
        with self._lock:
            sums, self._sums = self._sums, {}
        padded = sums.get("padded", 0.0)
        return Supply(
            batches=int(sums.get("batches", 0)),
            utterances=int(sums.get("utterances", 0)),
            padding=1 - sums.get("frames", 0.0) / padded if padded else 0.0,
            wait=sums.get("wait", 0.0),
            elapsed=sums.get("elapsed", 0.0),
            reading=sums.get("reading", 0.0),
        )

    def _add(self, **values: float) -> None:
        with self._lock:
            for name, value in values.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
