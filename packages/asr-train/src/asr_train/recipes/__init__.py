"""Recipes: configurations that are known to work, each with its command, time and score in its header."""

from pathlib import Path

from asr_train.errors import UserError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """A configuration by the path of a file, or by the name of a recipe.

    Raises:
        UserError: neither a file nor a recipe.
    """
    path = Path(name)
    if path.is_file():
        return path
    if name in names():
        return FOLDER / f"{name}.yaml"
    raise UserError(f"{name}: no such configuration file, and no such recipe; the recipes are {', '.join(names())}")
