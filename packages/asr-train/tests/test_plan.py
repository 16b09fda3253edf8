from itertools import combinations

import numpy as np
import pytest

from asr_train.plan import draws, edges, padding_share, plan, rows_within, shard_of


def padded(seconds: list[float], bounds: list[float]) -> float:
    return sum(min(bound for bound in bounds if bound >= one) for one in seconds)


@pytest.mark.parametrize("buckets", [1, 2, 3, 5])
def test_edges_have_the_least_padding_of_all_that_there_are(buckets: int) -> None:
    rng = np.random.default_rng(buckets)
    for _ in range(20):
        seconds = rng.gamma(3, 2, 12).round(1).tolist()
        ends = sorted(set(seconds))
        best = min(
            padded(seconds, [*chosen, ends[-1]])
            for count in range(min(buckets, len(ends)))
            for chosen in combinations(ends[:-1], count)
        )
        found = edges(seconds, buckets).tolist()
        assert len(found) <= buckets and found == sorted(found) and found[-1] == ends[-1]
        assert padded(seconds, found) == pytest.approx(best)


def test_edges_of_many_durations_are_of_quantiles() -> None:
    seconds = np.random.default_rng(0).gamma(3, 2, 20_000)
    bounds = edges(seconds, 8)
    assert len(bounds) == 8 and bounds[-1] == seconds.max()
    shares = [
        1 - seconds.sum() / padded(seconds.tolist(), list(ends))
        for ends in (bounds, np.quantile(seconds, np.linspace(0, 1, 9)[1:]))
    ]
    assert shares[0] < 0.16 < 0.18 < shares[1]


def test_padding_is_under_a_tenth_for_lengths_as_in_librispeech() -> None:
    """Equal numbers between the bounds that lingvo uses for its eight buckets: mean 12.2 s."""
    rng, ends = np.random.default_rng(0), np.array([1.3, 6.39, 10.62, 12.75, 13.77, 14.49, 15.06, 15.63, 17.1])
    which = rng.integers(0, 8, 5000)
    seconds = rng.uniform(ends[which], ends[which + 1])
    planned = plan(seconds, batch_seconds=240, buckets=8, rng=rng)
    assert padding_share(seconds.tolist(), planned) < 0.08


def test_settled_bounds_make_the_sizes_of_batches() -> None:
    seconds = np.random.default_rng(1).uniform(1, 10, 300)
    bounds = np.array([3.0, 6.0, 10.0])
    planned = plan(seconds, batch_seconds=30, bounds=bounds, rng=np.random.default_rng(0))
    assert sorted(np.concatenate(planned).tolist()) == list(range(300))
    sizes = [(float(bounds[np.searchsorted(bounds, seconds[rows].max())]), len(rows)) for rows in planned]
    # All are full, but for the one with the last that are left over.
    assert sum(size < rows_within(bound, 30) for bound, size in sizes) <= 1
    assert {rows_within(bound, 30) for bound in bounds} == {10, 5, 3}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_shards_are_equal_in_size_and_together_the_batch(count: int) -> None:
    for size in (1, 4, 9):
        for rows in (np.arange(n, dtype=np.int32) for n in range(1, size + 1)):
            parts = [shard_of(rows, size, (index, count)) for index in range(count)]
            assert {len(part) for part in parts} == {-(-size // count)}
            joined = np.concatenate(parts)
            assert joined[: len(rows)].tolist() == rows.tolist() and (joined[len(rows) :] == -1).all()


def test_draws_are_a_function_of_the_row_and_uniform() -> None:
    rows = np.arange(30_000)
    drawn = draws(3, seed=1, epoch=2, rows=rows)
    assert drawn[[7, 4000]].tolist() == [int(draws(3, seed=1, epoch=2, rows=row)[0]) for row in (7, 4000)]
    assert np.abs(np.bincount(drawn) / len(rows) - 1 / 3).max() < 0.01
    others = [draws(3, seed=1, epoch=2, rows=rows + 1)[:-1], draws(3, seed=1, epoch=3, rows=rows)]
    others += [draws(3, seed=2, epoch=2, rows=rows), draws(3, seed=1, epoch=2, rows=rows, what=1)]
    assert np.array_equal(others[0], drawn[1:])
    for other in others[1:]:
        assert np.mean(other == drawn) == pytest.approx(1 / 3, abs=0.02)
    # Neighbours know nothing of each other.
    assert np.mean(drawn[1:] == drawn[:-1]) == pytest.approx(1 / 3, abs=0.02)
