"""The README's commands and snippets run, in order, in a folder that holds a corpus."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from asr_train.config_file import from_dict

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python|yaml)\n(.*?)^```$", README, re.M | re.S)


def test_commands_and_snippets_run(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    runnable = [(language, code) for language, code in BLOCKS if language != "yaml"]
    assert [language for language, _ in runnable].count("bash") == 4
    for language, code in runnable:
        command = ["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        if language == "bash":  # the command line is silent on standard error; a library may not be
            assert done.stderr == "", code


def test_the_configuration_shown_is_one() -> None:
    shown = [yaml.safe_load(code) for language, code in BLOCKS if language == "yaml"]
    assert len(shown) == 1 and from_dict(shown[0]).decode.beam_size == 10
