"""The battery that every front end passes: put `check_frontend(MINE)` in a test of your own."""

import numpy as np

from .interfaces import Floats, Frontend

_EDGES = (80, 160, 320, 400, 560, 2400, 4000)
_LENGTHS = (*range(0, 900, 37), *(edge + step for edge in _EDGES for step in (-1, 0, 1)), 21000)


def check_frontend(frontend: Frontend) -> None:
    """Raises AssertionError, naming the broken law: shape, type, finite on silence, pure, deterministic."""
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


def _finite(features: Floats) -> bool:
    return bool(np.isfinite(features).all())


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(law)
