"""The best longer sequences, which are found group by group, against all of them sorted."""

import numpy as np
import pytest

from asr_decoders.beams import Places, grow

END = 1


def case(seed, vocab_size):
    """Sequences, some places of them not in use, and values with ties and with tokens that must not follow."""
    rng = np.random.default_rng(seed)
    batch, size = int(rng.integers(1, 4)), int(rng.integers(1, 12))
    values = np.round(np.log(rng.dirichlet(np.full(vocab_size, 0.3), (batch, size)) + 1e-9), int(rng.integers(0, 7)))
    values[rng.random(values.shape) < rng.choice((0.0, 0.2, 0.97))] = -np.inf
    values[:, :, END] = -np.inf
    score = -np.sort(rng.choice((0.1, 30.0)) * rng.random((batch, size)), axis=1)
    used = rng.integers(0, size + 1, batch)
    score[np.arange(size) >= used[:, None]] = -np.inf
    values[score == -np.inf] = -np.inf
    return score, values.astype(np.float32 if seed % 2 else np.float64)


@pytest.mark.parametrize("vocab_size", [2, 3, 60, 63, 64, 65, 127, 128, 129, 300, 1000])
def test_they_are_the_best_of_all(vocab_size) -> None:
    for seed in range(40):
        score, values = case(seed, vocab_size)
        batch, size = score.shape
        before = values.copy()
        grown = grow(Places(score, np.zeros((batch, size)), None), values, None, None, END)
        assert np.array_equal(values, before)
        totals = (score[:, :, None] + values).reshape(batch, -1)
        order = np.argsort(-totals, axis=1, kind="stable")[
            :, :size
        ]  # of equal ones the better parent's, then the token
        best = np.take_along_axis(totals, order, axis=1)
        best = np.pad(best, ((0, 0), (0, size - best.shape[1])), constant_values=-np.inf)
        order = np.pad(order, ((0, 0), (0, size - order.shape[1])))
        rows = np.arange(batch * size).reshape(batch, size)
        taken = best > -np.inf
        assert np.array_equal(grown.rank, best)
        parents = np.where(taken, rows[:, :1] + order // vocab_size, rows)
        assert grown.parents.tolist() == parents.ravel().tolist()
        assert grown.tokens.tolist() == np.where(taken, order % vocab_size, END).ravel().tolist()
        assert grown.tokens.dtype == np.int32
