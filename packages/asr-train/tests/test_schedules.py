"""Rates in closed form, the end of a run, and batches that give no number."""

import json
from pathlib import Path

import pytest

from asr_train.checkpoint import Progress
from asr_train.config import RunConfig, TrainConfig
from asr_train.errors import UserError
from asr_train.schedules import after_validation, done, learning_rate, part_done


def rates(config: TrainConfig, steps: list[int]) -> list[float]:
    return [learning_rate(config, step, 0.0) for step in steps]


def test_warm_up_by_steps_by_rate_and_by_default() -> None:
    config = TrainConfig(learning_rate=1.0, min_learning_rate=0.0, warmup_rate=0.2)
    assert [learning_rate(config, 7, part) for part in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0, 0.45, 0.8, 0.4, 0]
    )
    both = TrainConfig(learning_rate=1.0, warmup_rate=0.2, warmup_steps=10, schedule="constant")
    assert rates(both, [0, 4, 9, 99]) == pytest.approx([0.1, 0.5, 1, 1])  # steps win
    assert rates(TrainConfig(learning_rate=1.0, schedule="constant"), [249, 499]) == pytest.approx([0.5, 1])


def test_noam_is_that_of_the_paper_scaled_to_its_peak() -> None:
    config = TrainConfig(learning_rate=2.0, schedule="noam", warmup_steps=100)

    def paper(step: int) -> float:  # section 5.3, steps from 1
        return min(step**-0.5, step * 100**-1.5)

    for step in (1, 30, 100, 101, 4000):
        assert learning_rate(config, step - 1, 0.0) == pytest.approx(2.0 * paper(step) / paper(100))


def test_ramp_hold_decay_is_that_of_spec_augment() -> None:
    options = {"schedule": "ramp-hold-decay", "warmup_steps": 10, "hold_steps": 50, "decay_steps": 150}
    config = TrainConfig(learning_rate=1.0, min_learning_rate=0.01, **options)
    assert rates(config, [0, 9, 50, 100, 150, 1000]) == pytest.approx([0.1, 1, 1, 0.1, 0.01, 0.01])
    with pytest.raises(ValueError, match="min_learning_rate is 0"):
        TrainConfig(min_learning_rate=0, **options)


def test_a_plateau_lowers_the_rate_and_patience_ends_the_run() -> None:
    config = TrainConfig(learning_rate=1.0, schedule="plateau", warmup_steps=0, plateau_patience=2, patience=4)
    progress, factors = Progress(), []
    for step, wer in enumerate([0.5, 0.4, 0.4, 0.4, 0.45, 0.41]):
        assert not done(config, progress)
        progress.step = step
        assert after_validation(config, progress, wer, 1.0) == (step < 2)
        factors.append(learning_rate(config, step, 0.0, progress.schedule.get("factor", 1.0)))
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25])
    assert done(config, progress)  # four validations since the best


def test_the_part_that_is_done_is_by_epochs_or_by_time() -> None:
    config = TrainConfig(epochs=4, max_minutes=10)
    assert part_done(config, Progress(epoch=1, batch=5), 10) == pytest.approx(1.5 / 4)
    assert part_done(config, Progress(epoch=1, batch=5, seconds=540), 10) == pytest.approx(0.9)
    assert done(config, Progress(seconds=600)) and done(config, Progress(epoch=4)) and not done(config, Progress())


def test_nonfinite_batches_are_noted_and_not_too_many(tmp_path: Path) -> None:
    from asr_train.nonfinite import Nonfinite
    from asr_train.steps import Outcome

    bad, nan = Nonfinite(tmp_path / "nonfinite.jsonl", most=2), float("nan")
    broken, good = Outcome(nan, 3.0, nan, False, False, ()), Outcome(1.0, 3.0, 1.0, True, False, ())
    overflow = broken._replace(loss=1.0, overflow=True)
    for outcome in (broken, broken, overflow, good, broken, broken):
        bad.see(outcome, Progress(step=7, epoch=1, batch=2), ["a", "b"])
    lines = [json.loads(line) for line in (tmp_path / "nonfinite.jsonl").read_text().splitlines()]
    assert lines == [{"step": 7, "epoch": 2, "batch": 2, "loss": "nan", "ids": ["a", "b"]}] * 4
    with pytest.raises(UserError, match=r"3 steps in a row gave no finite loss, the last at step 8 \(c, ...\)"):
        bad.see(broken, Progress(step=8), ["c"])


def test_compiling_needs_fixed_shapes() -> None:
    with pytest.raises(ValueError, match="jit_compile needs data.static_shapes"):
        RunConfig(train=TrainConfig(jit_compile=True))
