"""Chain: a front end and what comes after it, as one front end."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .interfaces import Array, Frontend


class Stage(Protocol):
    """A function of features that keeps their number of frames: `Deltas`, a norm, or any of your own.

    It streams if it has `start`, `step` and `finish`, as `Streaming` has, of frames instead of samples.
    """

    def __call__(self, features: Array, /) -> Array:
        """`(T, F)` to `(T, F')` or `(T, F', C)`, for any T of at least 0."""
        ...


@dataclass(frozen=True, init=False, repr=False)
class Chain:
    """A front end, then stages on its features: `Chain(KALDI_80, Deltas(), RunningNorm())`. Itself a front end.

    It streams when all its parts do. A part that needs the whole utterance is named by the error that `start`
    raises. Equal parts make equal chains.
    """

    frontend: Frontend
    stages: tuple[Stage, ...] = ()

    def __init__(self, frontend: Frontend, *more: Stage, stages: tuple[Stage, ...] = ()) -> None:
        """Raises ValueError when a part is none, or does not take what the part before it gives.

        The stages follow the front end; `stages` is for `dataclasses.replace`.
        """
        object.__setattr__(self, "frontend", frontend)
        object.__setattr__(self, "stages", (*more, *stages))
        if not callable(frontend) or not all(hasattr(frontend, name) for name in ("sample_rate", "dim", "num_frames")):
            raise ValueError(f"frontend: expected sample_rate, dim, num_frames and a call, got {frontend!r}")
        _ = self.dim  # refuses stages that do not fit, now rather than at the first utterance

    def __repr__(self) -> str:
        """As it is written."""
        return f"Chain({', '.join(repr(part) for part in (self.frontend, *self.stages))})"

    @property
    def sample_rate(self) -> int:
        """The rate that the samples must have, in Hz."""
        return self.frontend.sample_rate

    @property
    def dim(self) -> int:
        """F, the features of a frame after the last stage; of each channel, where there are channels."""
        return self._frame[0]

    def num_frames(self, num_samples: int) -> int:
        """T for N samples: the front end's, for stages keep it."""
        return self.frontend.num_frames(num_samples)

    def __call__(self, samples: ArrayLike, /) -> Array:
        """`(N,)` float samples in [-1, 1] to `(T, F)`, or `(T, F, C)` with a stage that makes channels."""
        features = self.frontend(np.asarray(samples))
        for stage in self.stages:
            features = stage(features)
        return features

    def start(self) -> tuple[Any, ...]:
        """The states of the parts before the first sample. Raises ValueError, naming it, when a part cannot stream."""
        return tuple(_start(number, part) for number, part in enumerate(self._parts))

    def step(self, state: tuple[Any, ...], samples: Array, /) -> tuple[tuple[Any, ...], Array]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the frames that they complete."""
        states, block = [], samples
        for part, old in zip(self._parts, state, strict=True):
            new, block = part.step(old, block)
            states.append(new)
        return tuple(states), block

    def finish(self, state: tuple[Any, ...], /) -> Array:
        """The frames that only the end of the signal completes."""
        features: Array = self._parts[0].finish(state[0])
        for stage, old in zip(self._parts[1:], state[1:], strict=True):
            new, head = stage.step(old, features)
            features = np.concatenate([head, stage.finish(new)])
        return features

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (self.frontend, *self.stages)

    @cached_property
    def _frame(self) -> tuple[int, ...]:
        """The shape of a frame, `(F,)` or `(F, C)`, found by passing three frames of zeros through the stages."""
        frames = 3
        features = np.zeros((frames, *self.frontend(np.zeros(0, np.float32)).shape[1:]), np.float32)
        for number, stage in enumerate(self.stages, 1):
            try:
                features = stage(features)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{_place(number, stage)}: {error}") from error
            if np.ndim(features) not in (2, 3) or len(features) != frames:
                raise ValueError(
                    f"{_place(number, stage)}: expected {frames} frames for {frames}, got shape {np.shape(features)}"
                )
        return tuple(features.shape[1:])


def _start(number: int, part: Any) -> Any:
    if not hasattr(part, "start"):
        raise ValueError(f"{_place(number, part)}: cannot stream, it has no start")
    try:
        return part.start()
    except ValueError as error:
        raise ValueError(f"{_place(number, part)}: {error}") from error


def _place(number: int, part: object) -> str:
    return f"part {number} of the chain, {getattr(part, '__name__', type(part).__name__)}"
