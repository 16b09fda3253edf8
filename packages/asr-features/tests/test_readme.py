"""Every python block of the README runs, in order, in a folder that holds the file it reads."""

import re
from pathlib import Path

import numpy as np
import soundfile

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 4
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    soundfile.write("a.wav", 0.1 * rng.standard_normal((12000, 2)), 8000)
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), {})
