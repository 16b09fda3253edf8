"""Every package has what its users rely on: a version and its changelog, types, names that exist."""

import ast
import importlib
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))


def folder(package: str) -> Path:
    return ROOT / "packages" / package


def source(package: str) -> Path:
    return folder(package) / "src" / package.replace("-", "_")


def project(package: str) -> dict[str, Any]:
    return tomllib.loads((folder(package) / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def version(package: str) -> str:
    """The value of __version__, read as the build back end reads it: without importing."""
    tree = ast.parse((source(package) / "__init__.py").read_text(encoding="utf-8"))
    values = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    (value,) = values
    return str(value)


def test_there_are_packages() -> None:
    assert PACKAGES
    assert {path.name for path in ROOT.glob("packages/*") if path.is_dir()} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_complete(package: str) -> None:
    for name in ("README.md", "CHANGELOG.md", "tests"):
        assert (folder(package) / name).exists(), f"packages/{package}/{name} is missing"
    assert (source(package) / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_project_table_agrees_with_the_house(package: str) -> None:
    table = project(package)
    assert table["name"] == package
    assert table["license"] == "MIT"
    assert table["requires-python"] == ">=3.11"
    assert table["dynamic"] == ["version"]


@pytest.mark.parametrize("package", PACKAGES)
def test_newest_version_in_the_changelog_is_the_package_version(package: str) -> None:
    text = (folder(package) / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in re.findall(r"^## .*$", text, re.M) if line != "## [Unreleased]"]
    assert headings, f"packages/{package}/CHANGELOG.md has no version"
    for heading in headings:
        assert re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading), heading
    assert headings[0].split("]")[0] == f"## [{version(package)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_sibling_ranges_are_compatible_and_admit_the_present_versions(package: str) -> None:
    requirements = [Requirement(line) for line in project(package)["dependencies"]]
    siblings = {requirement.name: requirement for requirement in requirements if requirement.name in PACKAGES}
    assert set(siblings) == (set(PACKAGES) - {package} if package == "asr-train" else set())
    for name, requirement in siblings.items():
        (specifier,) = requirement.specifier
        assert specifier.operator == "~=", f"{requirement}: a sibling's range is written ~="
        assert specifier.contains(version(name)), f"{requirement} does not admit {version(name)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_exist_once_and_are_documented(package: str) -> None:
    module = importlib.import_module(package.replace("-", "_"))
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__) > 0
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert metadata.version(package) == module.__version__ == version(package)


def documented_interfaces() -> list[tuple[str, str, str]]:
    """(interface, package, check or "") of each row of the table in docs/interfaces.md."""
    text = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(\w+)` \| `(asr_\w+)` \|.*\|(?: `(\w+)`)? \|$", text, re.M)


def test_every_interface_is_documented() -> None:
    names = set()
    for path in ROOT.glob("packages/*/src/*/interfaces.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {(node.name, path.parent.name) for node in tree.body if isinstance(node, ast.ClassDef)}
    results = {("Hypothesis", "asr_decoders"), ("Word", "asr_decoders")}  # which the text below the table tells of
    assert {(name, package) for name, package, _ in documented_interfaces()} | results == names


@pytest.mark.parametrize("check", [(check, package) for _, package, check in documented_interfaces() if check])
def test_documented_checks_exist(check: tuple[str, str]) -> None:
    name, package = check
    assert callable(getattr(importlib.import_module(f"{package}.testing"), name))
