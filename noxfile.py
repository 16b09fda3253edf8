"""The checks: `nox` runs them all, `nox -l` lists them, `nox -s tests-asr-decoders -- -k beam` runs a few.

The packages are the folders of packages/, and what each one needs is read from its pyproject.toml.
"""

import tempfile
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # and pip, whose configuration is the user's own

ROOT = Path(__file__).parent
SETTINGS = nox.project.load_toml(ROOT / "pyproject.toml")
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: nox.project.load_toml(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
PACKAGES = list(PROJECTS)
FRAMEWORKS = {"tensorflow", "keras"}
PYTEST = ("pytest", "--numprocesses=auto", "--dist=loadfile")  # a file is one worker's: its fixtures are made once
group = nox.project.dependency_groups


def requirements(package: str) -> dict[str, str]:
    """What the package always needs: distribution name -> the requirement as written."""
    return {Requirement(line).name: line for line in PROJECTS[package]["project"]["dependencies"]}


def with_siblings(package: str) -> list[str]:
    """The package and the packages of this house that it needs, the needed ones first."""
    needed = [name for name in requirements(package) if name in PROJECTS]
    return [*dict.fromkeys(name for sibling in needed for name in with_siblings(sibling)), package]


def needs_framework(package: str) -> bool:
    return any(FRAMEWORKS & requirements(name).keys() for name in with_siblings(package))


def folder_with_extras(package: str) -> str:
    extras = ",".join(PROJECTS[package]["project"].get("optional-dependencies", {}))
    return f"./packages/{package}[{extras}]" if extras else f"./packages/{package}"


def groups_of(package: str, *names: str) -> list[str]:
    """Those of the dependency groups that the package has: "parity" are libraries that its tests compare with."""
    return [name for name in names if name in PROJECTS[package]["dependency-groups"]]


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff check and ruff format."""
    session.install(*group(SETTINGS, "lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict, over the source of every package; TensorFlow is absent, its values are Any."""
    needed = {item for package in PACKAGES for item in requirements(package).items()}
    typed = sorted(line for name, line in needed if name not in FRAMEWORKS | PROJECTS.keys())
    session.install(*group(SETTINGS, "types"), *typed)
    session.run("mypy", *(f"packages/{package}/src" for package in PACKAGES), *session.posargs)


for package in PACKAGES:

    @nox.session(name=f"tests-{package}")
    def tests(session: nox.Session, package: str = package) -> None:
        """The package's tests, on the source as it is edited, with every extra and the libraries to compare with."""
        siblings = [f"./packages/{name}" for name in with_siblings(package)[:-1]]
        editable = [f"--editable={folder}" for folder in [*siblings, folder_with_extras(package)]]
        session.install(*editable, *group(PROJECTS[package], *groups_of(package, "test", "parity")))
        session.run(*PYTEST, f"packages/{package}/tests", *session.posargs)


for package in PACKAGES:

    @nox.session(name=f"alone-{package}", reuse_venv=False)
    def alone(session: nox.Session, package: str = package) -> None:
        """The package's tests, on its wheel in a clean environment, from outside of the repository."""
        with tempfile.TemporaryDirectory() as outside:
            folders = [f"./packages/{name}" for name in with_siblings(package)]
            session.run("pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={outside}", *folders)
            # By file, never by name: no stranger's package of the same name can come in from an index.
            wheels = [str(wheel) for wheel in Path(outside).glob("*.whl")]
            session.install(*wheels, *group(PROJECTS[package], "test"))

            listed = str(session.run("pip", "list", "--format=freeze", silent=True))
            installed = {line.split("==")[0].lower() for line in listed.splitlines()}
            unwanted = PROJECTS.keys() - set(with_siblings(package))
            if not needs_framework(package):
                unwanted |= FRAMEWORKS
            if present := sorted(unwanted & installed):
                session.error(f"{package} must stand without {', '.join(present)}: its requirements bring it in")

            with session.chdir(outside):
                settings = f"--config-file={ROOT / 'pyproject.toml'}"
                session.run(*PYTEST, settings, str(ROOT / "packages" / package / "tests"), *session.posargs)


@nox.session
def house(session: nox.Session) -> None:
    """The tests of the whole: direction of imports, versions and changelogs, the README's commands."""
    session.install(*(folder_with_extras(package) for package in PACKAGES), *group(SETTINGS, "house"))
    session.run("pytest", "tests", *session.posargs)


def scripts_of(session: nox.Session, package: str, folder: str) -> list[Path]:
    """The programs of a folder of the package; its other files are what they share."""
    found = sorted(ROOT.glob(f"packages/{package}/{folder}/*.py"))
    found = [path for path in found if "__main__" in path.read_text(encoding="utf-8")]
    if not found:
        session.skip(f"{package} has none: packages/{package}/{folder}/*.py holds no program")
    return found


for package in PACKAGES:

    @nox.session(name=f"bench-{package}", default=False)
    def bench(session: nox.Session, package: str = package) -> None:
        """The package's benchmarks against its peers (on request); arguments go to each of them."""
        scripts = scripts_of(session, package, "benchmarks")
        folders = [f"./packages/{name}" for name in with_siblings(package)[:-1]]
        session.install(*folders, folder_with_extras(package), *group(PROJECTS[package], *groups_of(package, "bench")))
        if bare := groups_of(package, "bench-bare"):  # peers that go without what they ask for
            session.install("--no-deps", *group(PROJECTS[package], *bare))
        for script in scripts:
            session.run("python", str(script), *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Thousands of broken inputs, made from a fixed seed (on request, some minutes)."""
    for package in PACKAGES:
        if list(ROOT.glob(f"packages/{package}/fuzz/*.py")):
            session.install(folder_with_extras(package), *group(PROJECTS[package], "test"))
            for script in scripts_of(session, package, "fuzz"):
                session.run("python", str(script), *session.posargs)


@nox.session(name="tpu-lowering", default=False)
def tpu_lowering(session: nox.Session) -> None:
    """Lowers whole training steps and the greedy search for a TPU, on a machine without one (on request)."""
    session.install("tensorflow-tpu==2.20.0")
    session.run("pip", "uninstall", "--quiet", "--yes", "libtpu")  # the driver stops a process that finds no TPU
    for package in PACKAGES:
        if programs := sorted(ROOT.glob(f"packages/{package}/tpu/lower*.py")):
            needed = {name: line for part in with_siblings(package) for name, line in requirements(part).items()}
            session.install(*(line for name, line in needed.items() if name not in FRAMEWORKS | PROJECTS.keys()))
            for program in programs:
                session.run("python", str(program), *session.posargs)
