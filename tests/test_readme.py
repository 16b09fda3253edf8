"""The README's commands and snippets run, in order, in a fresh copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
EXACTLY_RIGHT = 90.0  # percent of the quickstart's test strings, voices that were not trained on
SECONDS = 1800  # for one block; the first one installs TensorFlow and trains a model


def blocks(markdown: str, *languages: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block in one of the languages, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", markdown, re.M | re.S)
    return [(language, code) for language, code in found if language in languages]


def commands() -> list[str]:
    return [code.strip() for _, code in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "bash")]


def copy(files: list[Path], target: Path) -> None:
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target / file)


def run(language: str, code: str, folder: Path) -> str:
    """Runs the block in the folder as a reader would, and returns what it printed."""
    shell = ["bash", "-euo", "pipefail", "-c", code]
    command = shell if language == "bash" else [f"{folder}/.venv/bin/python", "-c", code]
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        timeout=SECONDS,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        pytest.fail(f"exit status {done.returncode} of\n{code}\nwhich printed\n{done.stdout[-4000:]}")
    return done.stdout


def test_blocks_are_found_in_order() -> None:
    text = "a\n```bash\nls\n```\n```text\nno\n```\n```python\nx = 1\ny = 2\n```\n"
    assert blocks(text, "bash", "python") == [("bash", "ls\n"), ("python", "x = 1\ny = 2\n")]


def test_first_command_is_the_main_job_in_one_line() -> None:
    first = commands()[0]
    assert "\n" not in first
    assert first.startswith("python3.11 -m venv .venv && ")
    assert "/asr-train quickstart " in first


def test_second_command_is_what_continuous_integration_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands()[1] in [line.strip() for line in script.splitlines()]


def test_a_failing_command_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="exit status 3"):
        run("bash", "echo before; (exit 3); echo after", tmp_path)


def test_readme_runs(tmp_path: Path, files: list[Path]) -> None:
    copy(files, tmp_path)
    readme = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "bash", "python")
    main, checks = commands()[:2]
    printed = {
        code.strip(): run(language, re.sub(r"^python3\.11\b", PYTHON, code, flags=re.M), tmp_path)
        for language, code in readme
        if code.strip() != checks  # which runs this test
    }
    share = re.search(r"^([\d.]+)% of the test strings are exactly right", printed[main], re.M)
    assert share, f"quickstart does not say how many test strings are exactly right:\n{printed[main][-4000:]}"
    assert float(share[1]) >= EXACTLY_RIGHT
