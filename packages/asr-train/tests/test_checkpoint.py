"""Checkpoints: what is written is read, nothing else is, and the disk may be as it likes."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asr_train import checkpoint
from asr_train.checkpoint import Progress, Score, Timer
from asr_train.errors import UserError
from asr_train.files import Arrays, write_arrays


def groups(value: float = 0.5) -> dict[str, Arrays]:
    return {
        "model": {"a/kernel": np.full((2, 3), value, np.float32), "a/bias": np.arange(6, dtype=np.float32)[::2]},
        "optimizer": {"a/kernel/mean": np.full((3, 2), value, np.float32).T, "updates": np.array(7, np.int64)},
        "ema": {"a/kernel": np.full((2, 3), value / 3, np.float16)},
        "scale": {},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run/checkpoints"


def steps(folder: Path) -> list[int]:
    return [int(name.removeprefix("step-")) for name in checkpoint.names(folder)]


def test_all_comes_back_with_the_same_bits(folder: Path) -> None:
    before = Progress(
        step=12,
        epoch=1,
        batch=3,
        seconds=0.1 + 0.2,
        loss=1 / 3,
        tokens=17.0,
        scores=[Score(0.25, float("inf"), 9)],
        schedule={"factor": 0.1},
    )
    written = checkpoint.save(folder, groups(), before)
    found, complaints = checkpoint.newest(folder)
    assert found == written == folder / "step-00000012" and not complaints
    read, after = checkpoint.read(written)
    assert after == before
    assert read.keys() == groups().keys()
    for name, arrays in groups().items():
        assert read[name].keys() == arrays.keys()
        for key, value in arrays.items():
            assert read[name][key].dtype == value.dtype and read[name][key].shape == value.shape
            np.testing.assert_array_equal(read[name][key], value)


def test_the_newest_two_the_best_and_the_ends_of_epochs_are_kept(folder: Path) -> None:
    progress = Progress()
    wers = {10: 0.9, 20: 0.3, 30: 0.5, 40: 0.4, 50: 0.6, 60: 0.6}
    for step in range(1, 64):
        progress.step = step
        if step in wers:
            assert progress.validated(wers[step], 1.0) == (step in (10, 20))
        checkpoint.save(folder, groups(), progress, keep_last=3, keep_best=2)
    assert steps(folder) == [20, 40, 50, 60, 62, 63]
    assert progress.best(2) == [20, 40] and progress.last(3) == [40, 50, 60] and progress.stale == 4
    checkpoint.save(folder, groups(), progress)
    assert steps(folder) == [60, 62, 63]


def test_an_epoch_that_is_validated_twice_counts_once(folder: Path) -> None:
    progress = Progress(step=5)
    assert progress.validated(0.5, 1.0)
    assert not progress.validated(0.5, 1.0)
    assert progress.scores == [(0.5, 1.0, 5)] and progress.stale == 0


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.safetensors", "progress.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["cut", "gone", "flipped"])
def test_a_torn_one_is_passed_over_with_a_word(folder: Path, damage: str, how: str) -> None:
    good, torn = (checkpoint.save(folder, groups(), Progress(step=step)) for step in (1, 2))
    file = torn / damage
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if how == "cut" else bytes([content[0] ^ 1]) + content[1:])
    found, complaints = checkpoint.newest(folder)
    assert found == good
    assert len(complaints) == 1 and complaints[0].startswith(f"skipped a damaged checkpoint: {torn}")
    shutil.rmtree(good)
    assert checkpoint.newest(folder)[0] is None


def test_what_processes_that_died_left_behind_is_mended_or_removed(folder: Path) -> None:
    checkpoint.save(folder, groups(), Progress(step=1))
    second = checkpoint.save(folder, groups(), Progress(step=2))
    second.rename(folder / ".step-00000002.old")  # died between the two renames of writing it again
    shutil.copytree(folder / "step-00000001", folder / ".step-00000003.partial")
    assert checkpoint.newest(folder)[0] == second
    checkpoint.save(folder, groups(), Progress(step=3))
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]


def test_one_of_another_version_is_refused(folder: Path) -> None:
    path = checkpoint.save(folder, groups(), Progress(step=1))
    text = (path / "progress.json").read_text()
    (path / "progress.json").write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(UserError, match="step-00000001: written by another version"):
        checkpoint.read(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_refuses_ends_in_one_line_and_touches_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    good = checkpoint.save(folder, groups(), Progress(step=1))
    before = contents(folder)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(checkpoint, "write_arrays", refuse)
        elif call == "fsync":
            patch.setattr(os, "fsync", refuse)
        else:
            patch.setattr(Path, "rename", refuse)
        message = f"step-00000002: cannot be written: {os.strerror(number)}; the last good checkpoint is step-00000001"
        with pytest.raises(UserError, match=message) as raised:
            checkpoint.save(folder, groups(2.0), Progress(step=2))
    assert "\n" not in str(raised.value) and "--resume" in str(raised.value)
    assert {name: text for name, text in contents(folder).items() if "partial" not in name} == before
    assert checkpoint.newest(folder) == (good, [])
    checkpoint.save(folder, groups(), Progress(step=2))  # and with room again all is well
    assert steps(folder) == [1, 2] and not [name for name in contents(folder) if name.startswith(".")]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount a small disk")
    try:
        big: dict[str, Arrays] = {"model": {"w": np.zeros(20000, np.float32)}, "optimizer": {}}
        good = checkpoint.save(disk / "checkpoints", big, Progress(step=1))
        checkpoint.save(disk / "checkpoints", big, Progress(step=2))
        before = contents(disk)
        with pytest.raises(UserError, match="No space left on device; the last good checkpoint is step-00000002"):
            checkpoint.save(disk / "checkpoints", big, Progress(step=3))
        assert contents(disk) == before
        assert checkpoint.newest(good.parent)[0] == disk / "checkpoints/step-00000002"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    try:
        good = checkpoint.save(disk / "checkpoints", groups(), Progress(step=1))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match="Read-only file system; the last good checkpoint is step-00000001"):
            checkpoint.save(disk / "checkpoints", groups(), Progress(step=2))
        assert checkpoint.newest(good.parent) == (good, [])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_whose_folder_is_gone_is_not_begun_again_elsewhere(folder: Path) -> None:
    folder.parent.rmdir()
    with pytest.raises(UserError, match="cannot be written: No such file or directory; there is no checkpoint yet"):
        checkpoint.save(folder, groups(), Progress(step=1))
    assert not folder.parent.exists()


def test_arrays_that_cannot_be_written_are_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_arrays(tmp_path / "nowhere/a.safetensors", {"a": np.zeros(3)})


def test_a_checkpoint_is_due_after_steps_or_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    assert [step for step in range(1, 10) if Timer(steps=4).due(step)] == [4, 8]
    timer, due = Timer(minutes=2), []
    for step in range(1, 10):
        now[0] += 50
        if timer.due(step):
            due.append(step)
    assert due == [3, 6, 9]  # 150 s apart
