"""What is built: a wheel for all Pythons, with the library where there is a compiler and without it elsewhere."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77")
pytest.importorskip("pip")

PACKAGE = Path(__file__).resolve().parents[1]
COMPILER = "cl" if sys.platform == "win32" else os.environ.get("CXX", "g++")

# Decodes by both backends, as far as they are there, and says whether there is a library.
USE = """
import sys
import numpy as np
from asr_decoders import CtcBeam, native
log_probs = np.log(np.random.default_rng(0).dirichlet(np.full(5, 0.3), 40) + 1e-9).astype(np.float32)
log_probs = np.minimum(log_probs, 0)
assert sys.argv[1] in native.__file__
auto, numpy = (CtcBeam(backend=backend)(log_probs)[0] for backend in ("auto", "numpy"))
assert auto.tokens == numpy.tokens and abs(auto.score - numpy.score) < 1e-9
print(native.available(), native.why_not())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The package's folder without what was built in it."""
    folder = tmp_path_factory.mktemp("source") / "package"
    ignored = shutil.ignore_patterns("*.so", "*.dll", "__pycache__", "*.egg-info", "build", "benchmarks", "data")
    return shutil.copytree(PACKAGE, folder, ignore=ignored)


def build(folder, target, **environment):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        f"--wheel-dir={target}",
        str(folder),
    ]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = target.glob("*.whl")
    return wheel


def use(wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    command = [sys.executable, "-c", USE, str(target)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ASR_DECODERS_")}
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(target)}, cwd=target, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("asr_decoders/")}


def sources_of(folder):
    return {path.relative_to(folder / "src").as_posix() for path in folder.glob("src/asr_decoders/**/*.py")}


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs a compiler, {COMPILER}")
def test_wheel_with_the_library(source, tmp_path) -> None:
    wheel = build(source, tmp_path / "wheel", ASR_DECODERS_BACKEND="native")
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    assert not wheel.name.endswith("-any.whl")
    assert wheel.stat().st_size < 1_000_000
    (library,) = files_of(wheel) - sources_of(source) - {"asr_decoders/py.typed"}
    assert library in ("asr_decoders/native/decoders.so", "asr_decoders/native/decoders.dll")
    assert use(wheel, tmp_path / "installed") == "True None"


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler is not found by a variable there")
def test_wheel_without_a_compiler(source, tmp_path) -> None:
    nothing = {"CC": "false", "CXX": "false", "ASR_DECODERS_BACKEND": ""}
    wheel = build(source, tmp_path / "wheel", **nothing)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert files_of(wheel) == sources_of(source) | {"asr_decoders/py.typed"}
    assert use(wheel, tmp_path / "installed").startswith("False there is no decoders.so in ")


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler is not found by a variable there")
def test_a_wheel_that_must_have_the_library_is_not_built_without(source, tmp_path) -> None:
    nothing = {"CC": "false", "CXX": "false", "ASR_DECODERS_BACKEND": "native"}
    with pytest.raises(AssertionError, match="false"):
        build(source, tmp_path / "wheel", **nothing)


def test_source_distribution_is_complete(source, tmp_path) -> None:
    code = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    needed = {f"src/{name}" for name in sources_of(source)} | {"src/asr_decoders/py.typed"}
    assert {
        "pyproject.toml",
        "setup.py",
        "README.md",
        "LICENSE",
        "src/asr_decoders/native/decoders.cpp",
        "src/asr_decoders/native/edits.cpp",
        *needed,
    } <= names
