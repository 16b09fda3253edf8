"""The battery that every front end passes: put `check_frontend(MINE)` in a test of your own."""

from typing import Any

import numpy as np

from .interfaces import Floats, Frontend

_EDGES = (80, 160, 320, 400, 560, 2400, 4000)
_LENGTHS = (*range(0, 900, 37), *(edge + step for edge in _EDGES for step in (-1, 0, 1)), 21000)
_STREAMED = (0, 1, 79, 200, 399, 400, 401, 1000, 5003, 12000)
_PIECES = (1, 160, 333, 4000)


def check_frontend(frontend: Frontend) -> None:
    """Raises AssertionError, naming the broken law.

    Shape, type, finite on silence, pure, deterministic; and when it has start, step and finish, that they give
    what one call gives. A front end that cannot stream says so by a ValueError from start.
    """
    _require(frontend.sample_rate > 0, f"sample_rate is {frontend.sample_rate}, expected Hz above 0")
    rng = np.random.default_rng(0)
    for length in _LENGTHS:
        samples = rng.uniform(-0.5, 0.5, length).astype(np.float32)
        kept = samples.copy()
        features = frontend(samples)
        shape = (frontend.num_frames(length), frontend.dim)
        later = features.copy()
        frontend(-samples[::-1])
        for holds, law in (
            (features.dtype == np.float32, f"the features are {features.dtype}, expected float32"),
            (features.shape == shape, f"the shape is {features.shape}, expected (num_frames, dim) = {shape}"),
            (_finite(features), "the features of noise are not finite"),
            (_finite(frontend(np.zeros_like(samples))), "the features of silence are not finite"),
            (np.array_equal(samples, kept), "the samples were written into"),
            (np.array_equal(features, later), "a later call changed the features of an earlier one"),
            (np.array_equal(features, frontend(kept)), "a second call gave other features"),
        ):
            _require(holds, f"{law}, for {length} samples")
    counts = [frontend.num_frames(length) for length in range(5000)]
    _require(counts == sorted(counts), "num_frames falls as the signal grows")
    if all(hasattr(frontend, name) for name in ("start", "step", "finish")):
        _check_stream(frontend, rng)


def _check_stream(frontend: Any, rng: np.random.Generator) -> None:
    try:
        frontend.start()
    except ValueError:
        return
    for length in _STREAMED:
        samples = rng.uniform(-0.5, 0.5, length).astype(np.float32)
        whole = frontend(samples)
        for piece in _PIECES:
            if length > 30 * piece:
                continue  # many pieces take long and show nothing that fewer do not
            told = f", for {length} samples in pieces of {piece}"
            streamed, again = _streamed(frontend, samples, piece)
            _require(np.array_equal(streamed, whole), "the stream gave other features than one call" + told)
            _require(again, "step or finish changed the state that it was given" + told)


def _streamed(frontend: Any, samples: Floats, piece: int) -> tuple[Floats, bool]:
    """The features of the pieces, and whether every state gave the same when it was used again."""
    state, parts, again = frontend.start(), [], True
    for first in range(0, len(samples) + piece, piece):  # the last piece is empty, or short
        given = samples[first : first + piece].copy()
        following, features = frontend.step(state, given)
        given[:] = np.nan  # the state may not look into a caller's buffer
        repeated = frontend.step(state, samples[first : first + piece])[1]
        again = again and np.array_equal(features, repeated)
        parts.append(features)
        state = following
    parts += [frontend.finish(state)]
    again = again and np.array_equal(parts[-1], frontend.finish(state))
    return np.concatenate(parts), again


def _finite(features: Floats) -> bool:
    return bool(np.isfinite(features).all())


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(law)
