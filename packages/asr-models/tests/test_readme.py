"""The README's snippets and commands run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
COMMANDS = re.findall(r"`python (-m asr_models [^`]*)`", README)


def test_snippets_are_found() -> None:
    assert len(SNIPPETS) == 7
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command: str) -> None:
    done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_preset_is_in_the_table() -> None:
    from asr_models import PRESETS

    table = README.replace("`-medium`, `-large`", "`las-reference-medium`, `las-reference-large`")
    assert [name for name in PRESETS if f"`{name}`" not in table] == []
