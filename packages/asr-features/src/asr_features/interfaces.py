"""What a front end is. Any object of this shape is one: nothing needs to be imported to satisfy it.

N is samples, T frames, F features.
"""

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Array = NDArray[Any]
"""Float32, or float64 where a `dtype` field says so."""
S = TypeVar("S")


class Frontend(Protocol):
    """Turns samples into frames of features. A frozen dataclass satisfies it."""

    @property
    def sample_rate(self) -> int:
        """The rate that the samples must have, in Hz."""
        ...

    @property
    def dim(self) -> int:
        """F, the number of features of a frame."""
        ...

    def num_frames(self, num_samples: int) -> int:
        """T for N samples: the exact law of shapes."""
        ...

    def __call__(self, samples: Floats, /) -> Floats:
        """`(N,)` float32 in [-1, 1] to `(T, F)` float32."""
        ...


class Streaming(Protocol[S]):
    """The same function fed in pieces: steps and finish, concatenated, equal one call on all, bit for bit."""

    def start(self) -> S:
        """The state before the first sample."""
        ...

    def step(self, state: S, samples: Floats, /) -> tuple[S, Floats]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the frames `(t, F)` that they complete."""
        ...

    def finish(self, state: S, /) -> Floats:
        """The frames `(t, F)` that only the end of the signal completes."""
        ...
