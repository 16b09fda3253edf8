"""The README's Python and shell run as they are printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the README speaks of."""
    logits = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    np.save(tmp_path / "logits.npy", logits)
    (tmp_path / "units.txt").write_text("<blank>\na\nb\n \n", encoding="utf-8")
    (tmp_path / "ref.tsv").write_text("u1\tthe cat sat\n", encoding="utf-8")
    (tmp_path / "hyp.tsv").write_text("u1\tthe cat\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_blocks_run_in_order(folder) -> None:
    names = {"__name__": "readme"}
    assert len(blocks("python")) >= 4
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)


def test_score_command_prints_what_the_readme_says(folder) -> None:
    (example,) = blocks("console")
    command, printed = example.removeprefix("$ ").split("\n", maxsplit=1)
    arguments = shlex.split(command)
    assert arguments[0] == "python"
    done = subprocess.run([sys.executable, *arguments[1:]], capture_output=True, text=True, check=True)
    assert done.stdout == printed
