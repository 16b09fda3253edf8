"""Imports run one way, and nothing in a package can run code that came in as data.

asr_features, asr_models and asr_decoders are strangers; asr_train is the only place where they meet.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(ROOT.glob("packages/*/src/*/**/*.py"))

STRANGERS = {"asr_features", "asr_models", "asr_decoders"}
MAY_IMPORT = {
    "asr_features": {"numpy", "scipy"},
    "asr_models": {"numpy", "tensorflow", "keras"},
    "asr_decoders": {"numpy"},
}
# The one module of a package, a file or a folder, through which an optional dependency comes in.
DOORS = {
    "asr_features/sndfile": {"soundfile"},
    "asr_features/tf": {"tensorflow"},
    "asr_decoders/tf": {"tensorflow"},
}
# Reading these runs what was written in them.
UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
PRIVATE = re.compile(r"(tf|tensorflow)\.python\b|(tf\.)?keras\.src\b|(.*\.)?_[a-z]")
IMPORT_NAME = {"pyyaml": "yaml", "tensorflow-cpu": "tensorflow"}


def declared(package: str) -> set[str]:
    """Import names of all that the package's pyproject.toml declares, extras included."""
    folder = ROOT / "packages" / package.replace("_", "-")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    lines = chain(project["dependencies"], *extras.values())
    names = {Requirement(line).name.lower() for line in lines}
    return {IMPORT_NAME.get(name, name.replace("-", "_")) for name in names}


def module_of(file: str) -> str:
    """asr_features/tf.py and asr_features/tf/mel.py -> asr_features/tf"""
    return "/".join(file.removesuffix(".py").split("/")[:2])


def allowed(file: str) -> set[str]:
    """What a source file, named as "asr_features/mel.py", may import beside the standard library."""
    package = file.split("/")[0]
    if package not in STRANGERS:
        return declared(package) | {"keras", package}
    return MAY_IMPORT[package] | DOORS.get(module_of(file), set()) | {package}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every absolute import, those by a literal name included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            if ast.unparse(node.func).endswith(("import_module", "__import__")) and not name.startswith("."):
                yield node.lineno, name


def import_faults(tree: ast.AST, file: str) -> Iterator[tuple[int, str]]:
    package = file.split("/")[0]
    for line, name in imported(tree):
        top = name.split(".")[0]
        if top in UNSAFE:
            yield line, f"imports {top}, which runs code from data"
        elif top not in sys.stdlib_module_names and top not in allowed(file):
            yield line, f"imports {top}, which is not along the arrows"
        elif top != package and PRIVATE.match(name):
            yield line, f"imports {name}, which is private"


def code_faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Assert():
                yield node.lineno, "asserts: raise ValueError, or test it in tests/"
            case ast.ExceptHandler(type=None):
                yield node.lineno, "has a bare except"
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield node.lineno, f"calls {name}, which runs code from data"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield node.lineno, "allows pickles"
            case ast.Attribute(attr="python" | "src") if PRIVATE.fullmatch(ast.unparse(node)):
                yield node.lineno, f"uses {ast.unparse(node)}, which is private"


def faults(source: str, file: str) -> list[str]:
    """One line a fault in the source of a file that is named as "asr_features/mel.py"."""
    tree = ast.parse(source)
    return [f"{file}:{line}: {fault}" for line, fault in sorted([*import_faults(tree, file), *code_faults(tree)])]


def name_of(path: Path) -> str:
    """packages/asr-features/src/asr_features/mel.py -> asr_features/mel.py"""
    return "/".join(path.relative_to(ROOT).parts[3:])


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_source_has_no_faults(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), name_of(path)) == []


def test_every_package_has_its_arrows() -> None:
    names = {path.parent.name.replace("-", "_") for path in ROOT.glob("packages/*/pyproject.toml")}
    assert names == STRANGERS | {"asr_train"}
    assert {name_of(path).split("/")[0] for path in SOURCES} == names


@pytest.mark.parametrize("package", sorted(STRANGERS))
def test_arrows_end_at_declared_requirements(package: str) -> None:
    modules = {module_of(name_of(path)) for path in SOURCES}
    doors = [DOORS[name] for name in modules & DOORS.keys() if name.startswith(f"{package}/")]
    assert MAY_IMPORT[package].union(*doors) - {"keras"} == declared(package)  # Keras comes with TensorFlow


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("asr_decoders/ctc.py", "import tensorflow as tf", "imports tensorflow, which is not along"),
        ("asr_decoders/ctc.py", "def f():\n    from asr_models import Las", "imports asr_models"),
        ("asr_decoders/ctc.py", "import importlib\nimportlib.import_module('keras')", "imports keras"),
        ("asr_features/mel.py", "import soundfile", "imports soundfile, which is not along the arrows"),
        ("asr_features/tf.py", "import soundfile", "imports soundfile, which is not along the arrows"),
        ("asr_models/las.py", "from asr_features import read", "imports asr_features"),
        ("asr_models/las.py", "from keras.src import ops", "imports keras.src.ops, which is private"),
        ("asr_models/las.py", "from tensorflow import python", "imports tensorflow.python, which is private"),
        ("asr_models/las.py", "from numpy import _core", "imports numpy._core, which is private"),
        ("asr_models/las.py", "tf.python.ops.op()", "uses tf.python, which is private"),
        ("asr_train/loop.py", "import torch", "imports torch, which is not along the arrows"),
        ("asr_train/loop.py", "import pickle", "imports pickle, which runs code from data"),
        ("asr_train/loop.py", "numpy.load(path, allow_pickle=True)", "allows pickles"),
        ("asr_train/loop.py", "eval('1 + 1')", "calls eval, which runs code from data"),
        ("asr_train/loop.py", "assert True", "asserts"),
        ("asr_train/loop.py", "try:\n    pass\nexcept:\n    pass", "has a bare except"),
    ],
)
def test_planted_fault_is_found(file: str, source: str, fault: str) -> None:
    (found,) = faults(source, file)
    assert re.fullmatch(rf"{file}:\d+: {re.escape(fault)}.*", found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("asr_features/sndfile.py", "import soundfile\nfrom scipy import signal\nfrom . import _tables"),
        ("asr_features/tf.py", "import tensorflow as tf\ntf.signal.rfft(x)"),
        (
            "asr_decoders/ctc.py",
            "from __future__ import annotations\nimport sys\nnp.load(x, allow_pickle=False)",
        ),
        ("asr_train/loop.py", "import asr_features, asr_models, asr_decoders, asr_train.config, keras"),
        ("asr_models/las.py", "model.eval()\nx.src = tf.keras\ntry:\n    pass\nexcept ValueError:\n    pass"),
    ],
)
def test_innocent_source_has_no_faults(file: str, source: str) -> None:
    assert faults(source, file) == []


def loaded_by(package: str) -> set[str]:
    """The modules that are loaded after `import package` in a fresh interpreter."""
    code = f"import sys, {package}; print(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n"))


def test_import_of_features_is_light() -> None:
    assert loaded_by("asr_features") & {"tensorflow", "keras", "soundfile", "scipy.signal"} == set()


def test_import_of_decoders_is_light() -> None:
    assert loaded_by("asr_decoders") & {"tensorflow", "keras", "scipy"} == set()


def test_tensorflow_is_there_to_be_loaded() -> None:
    assert {"tensorflow", "keras"} <= loaded_by("tensorflow, keras")
