"""No file of the repository names somebody's machine, and none holds or reads a pickle."""

import ast
import re
from pathlib import Path

import pytest

MACHINE_PATH = re.compile(r"(?<![\w.~/-])(?:[A-Z]:[\\/])?[\\/](?:home|root|work|Users)[\\/]\w")
PICKLE_NAME = re.compile(r"\.(pkl|pickle|joblib|dill)$")
LOADERS = {"pickle", "marshal", "dill", "joblib", "cloudpickle"}


def loads_pickles(source: str) -> bool:
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(re.fullmatch(rf"({'|'.join(LOADERS)})\.loads?", ast.unparse(call.func)) for call in calls)


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def test_no_file_names_a_path_of_a_machine(root: Path, files: list[Path]) -> None:
    found = [str(path) for path in files if MACHINE_PATH.search(text_of(root / path))]
    assert found == []


def test_no_file_is_or_reads_a_pickle(root: Path, files: list[Path]) -> None:
    assert [str(path) for path in files if PICKLE_NAME.search(path.name)] == []
    sources = [path for path in files if path.suffix == ".py"]
    assert len(sources) > len([path for path in sources if "tests" in path.parts]) > 0
    # A test may: of the states that it has just made, which promise to pickle.
    shipped = [path for path in sources if "tests" not in path.parts]
    assert [str(path) for path in shipped if loads_pickles(text_of(root / path))] == []


@pytest.mark.parametrize("folder", ["home", "root", "work", "Users"])
def test_machine_path_is_found_where_it_is_planted(folder: str) -> None:
    path = "/".join(["", folder, "me", "corpus.tsv"])
    for text in (path, f"read('{path}')", f"data={path}", f"see {path}.", "C:" + path.replace("/", "\\")):
        assert MACHINE_PATH.search(text), text
    for text in (f"./{folder}/me", f"a/{folder}/me", f"https://example.org/{folder}/me", f"~/{folder}/me"):
        assert not MACHINE_PATH.search(text), text


def test_pickle_is_found_where_it_is_planted() -> None:
    assert loads_pickles("import pickle\nmodel = pickle." + "load(file)")
    assert not loads_pickles("import json\nmodel = json.load(file)")
