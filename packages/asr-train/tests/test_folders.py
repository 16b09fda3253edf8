from pathlib import Path

import pytest

from asr_train.errors import UserError
from asr_train.folders import SUMS, check_folder, recover, whole_folder


def fill(target: Path, text: str) -> None:
    with whole_folder(target) as folder:
        (folder / "a.txt").write_text(text)


def test_written_whole_and_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    fill(target, "one")
    fill(target, "two")
    assert (target / "a.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    check_folder(target, ("a.txt",))


def test_dying_inside_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    fill(target, "one")
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert (target / "a.txt").read_text() == "one"
    fill(target, "two")  # and the leftovers are not in the way
    assert (target / "a.txt").read_text() == "two"


def test_dying_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    target = tmp_path / "model"
    fill(target, "one")
    target.rename(tmp_path / ".model.old")
    recover(target)
    check_folder(target, ("a.txt",))


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(UserError, match="no such folder"):
        check_folder(target, ())
    fill(target, "one")
    with pytest.raises(UserError, match="b.txt is missing"):
        check_folder(target, ("b.txt",))
    (target / "b.txt").write_text("")
    with pytest.raises(UserError, match="b.txt is not listed"):
        check_folder(target, ("b.txt",))
    (target / "a.txt").write_text("One")
    with pytest.raises(UserError, match="a.txt was altered"):
        check_folder(target, ("a.txt",))
    (target / SUMS).write_text("0  ../../etc/passwd\n")
    with pytest.raises(UserError, match=f"{SUMS}:1: expected"):
        check_folder(target, ())
    (target / SUMS).unlink()
    with pytest.raises(UserError, match=f"{SUMS} is missing"):
        check_folder(target, ())
