"""One YAML file describes a run: reading, checking and writing it.

`features` and `model` are chosen by `preset` or `kind` and then changed key by key. A key that does not exist is
refused with its line and the nearest name, before TensorFlow is loaded.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

import asr_features
import asr_models
from asr_train.config import FRONTENDS, MODELS, RunConfig, to_dict
from asr_train.errors import UserError

PATHS = (
    ("data", "train"),
    ("data", "dev"),
    ("data", "records"),
    ("data", "cache_folder"),
    ("augment", "noise", "files"),
    ("tokenizer", "path"),
    ("train", "init_from"),
)
"""The values that are paths, or lists of them."""


def from_dict(values: Mapping[str, Any], where: "Where | None" = None) -> RunConfig:
    """Check and build a configuration.

    Raises:
        UserError: an unknown key, a wrong type or a value out of range; with the line where `where` knows it.
    """
    where = where or Where()
    _known(values, [f.name for f in dataclasses.fields(RunConfig)], (), where)
    parts = {}
    for section in dataclasses.fields(RunConfig):
        given = values.get(section.name)
        if given is None:
            continue
        if section.name == "features":
            parts[section.name] = read_part(given, FRONTENDS, asr_features.PRESETS, "kaldi-80", "features", where)
        elif section.name == "model":
            parts[section.name] = read_part(given, MODELS, asr_models.PRESETS, "deepspeech2-small", "model", where)
        else:
            parts[section.name] = build(section.default_factory, given, (section.name,), where)
    try:
        return RunConfig(**parts)
    except ValueError as error:
        raise where.error((), str(error)) from None


def read_part(
    given: Any,
    kinds: Mapping[str, type],
    presets: Mapping[str, Any],
    default: str | None,
    section: str,
    where: "Where | None" = None,
) -> Any:
    """A dataclass of a package from its `preset` (or `kind`) and the keys that change it.

    Raises:
        UserError: neither preset nor kind where there is no default; anything that `build` refuses.
    """
    where = where or Where()
    if not isinstance(given, Mapping):
        raise where.error((section,), f"expected a mapping, got {given!r}")
    changes = dict(given)
    preset, kind = changes.pop("preset", None), changes.pop("kind", None)
    for key, name, names in (("preset", preset, presets), ("kind", kind, kinds)):
        if name is not None and not (isinstance(name, str) and name in names):
            raise where.error((section, key), f"unknown {key} {name!r}{_nearest(str(name), list(names))}")
    if kind is None and preset is None and default is None:
        raise where.error((section,), f"kind is missing; expected one of {', '.join(kinds)}")
    if kind is None or preset is not None:
        base = presets[str(preset or default)]
        if kind is not None and type(base) is not kinds[kind]:
            raise where.error((section, "kind"), f"preset {preset!r} is not of kind {kind!r}; give one of the two")
    else:
        return build(kinds[kind], changes, (section,), where)
    return build(type(base), _changed(base, changes), (section,), where)


def _changed(base: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass, changed; a part of it that is a dataclass itself is changed key by key."""
    fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    deeper = {
        name: _changed(fields[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and dataclasses.is_dataclass(fields.get(name))
    }
    return {**fields, **changes, **deeper}


def build(cls: Any, values: Any, path: tuple[str, ...], where: "Where | None" = None) -> Any:
    """A dataclass from plain values, every key and type checked."""
    where = where or Where()
    if not isinstance(values, Mapping):
        raise where.error(path, f"expected a mapping, got {values!r}")
    _known_deep(cls, values, path, where)
    try:
        return pydantic.TypeAdapter(cls).validate_python(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        # A union reports the member that it tried; only keys and indices are part of the file.
        keys = tuple(key for key in first["loc"] if isinstance(key, int) or str(key) in _keys_in(values))
        told = first["msg"].removeprefix("Value error, ")
        got = f", got {first['input']!r}" if first["type"] != "value_error" else ""
        raise where.error((*path, *keys), f"{told}{got}") from None


def _keys_in(values: Any) -> set[str]:
    if isinstance(values, Mapping):
        return {str(key) for key in values}.union(*(_keys_in(item) for item in values.values()))
    return set().union(*(_keys_in(item) for item in values)) if isinstance(values, list | tuple) else set()


def _known_deep(cls: Any, values: Any, path: tuple[str | int, ...], where: "Where") -> None:
    """Refuse unknown keys in `values`, and in lists of dataclasses below it."""
    hints = {f.name: f.type for f in dataclasses.fields(cls)}
    _known(values, list(hints), path, where)
    for name, value in values.items():
        inner = _dataclass_in(hints[name])
        if inner is None:
            continue
        items: Iterator[tuple[tuple[str | int, ...], Any]] = (
            (((*path, name, n), item) for n, item in enumerate(value))
            if isinstance(value, list | tuple)
            else iter([((*path, name), value)])
        )
        for place, item in items:
            if isinstance(item, Mapping):
                _known_deep(inner, item, place, where)


def _dataclass_in(hint: Any) -> Any:
    """The dataclass of a hint such as `tuple[Convolution, ...]` or `str | SpecAugment | None`."""
    if dataclasses.is_dataclass(hint):
        return hint
    return next((found for arg in getattr(hint, "__args__", ()) if (found := _dataclass_in(arg)) is not None), None)


def _known(values: Mapping[str, Any], names: list[str], path: tuple[str | int, ...], where: "Where") -> None:
    for key in values:
        if key not in names:
            raise where.error((*path, key), f"unknown key {key!r}{_nearest(str(key), names)}", key=True)


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" The names are {', '.join(names)}"


class Where:
    """Knows the file and the lines of a configuration, for messages."""

    def __init__(self, file: Path | None = None, root: yaml.Node | None = None) -> None:
        self.file, self.root = file, root

    def error(self, path: tuple[str | int, ...], message: str, *, key: bool = False) -> UserError:
        """An error about the value (or the key) at `path`."""
        dotted = ".".join(str(part) for part in (path[:-1] if key else path))
        line = self._line(path)
        place = f"{self.file}:{line}: " if line else f"{self.file}: " if self.file else ""
        return UserError(f"{place}{dotted}: {message}" if dotted else f"{place}{message}")

    def _line(self, path: tuple[str | int, ...]) -> int | None:
        node, mark = self.root, None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
                if found is None:  # the key came from the command line, or is missing
                    return None
                mark, node = found[0].start_mark, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                mark = node.start_mark
        return mark.line + 1 if mark else None


def read_config(path: Path, settings: tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML file and apply `KEY=VALUE` settings such as `model.dropout=0.2`.

    Relative paths in the file are taken from the file's folder, those of settings from the working directory.

    Raises:
        UserError: no such file, not YAML, or anything that `from_dict` refuses.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the configuration is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections such as `model:` and `train:`, got {values!r}")
    _change_paths(values, lambda text: str((path.parent / text).absolute()))
    for setting in settings:
        apply_setting(values, setting)
    _change_paths(values, lambda text: str(Path(text).absolute()))
    return from_dict(values, Where(path, root))


def _change_paths(values: dict[str, Any], change: Callable[[str], str]) -> None:
    """Change every path among the values of a configuration, in place."""
    for *sections, key in PATHS:
        within: Any = values
        for name in sections:
            within = within.get(name) if isinstance(within, dict) else None
        if not isinstance(within, dict):
            continue
        if isinstance(within.get(key), list):
            within[key] = [change(item) if isinstance(item, str) else item for item in within[key]]
        elif isinstance(within.get(key), str):
            within[key] = change(within[key])


def apply_setting(values: dict[str, Any], setting: str) -> None:
    """Change `values` in place by one `SECTION.KEY=VALUE`; the value is YAML.

    Raises:
        UserError: not of that form.
    """
    key, equals, text = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise UserError(f"--set {setting}: expected SECTION.KEY=VALUE, for example model.dropout=0.2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {setting}: {text!r} is not a YAML value") from None
    inner: Any = values
    for part in parts[:-1]:
        if inner.get(part) is None:
            inner[part] = {}
        inner = inner[part]
        if not isinstance(inner, dict):
            raise UserError(f"--set {setting}: {part} is {inner!r}, which has no keys")
    inner[parts[-1]] = value


def manifests_setting(key: str, paths: Iterable[str | Path]) -> str:
    """A setting of `data.train` or `data.dev` to absolute paths; JSON is YAML, whatever the paths hold."""
    return f"{key}={json.dumps([str(Path(path).absolute()) for path in paths], ensure_ascii=False)}"


def write_config(config: RunConfig, path: Path) -> None:
    """Write every value of a configuration, paths absolute, so that the file alone repeats the run from anywhere."""
    values = to_dict(config)
    _change_paths(values, lambda text: str(Path(text).absolute()))
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def differences(a: RunConfig, b: RunConfig) -> list[str]:
    """The keys in which two configurations differ; paths to the same file are equal, however they are written."""
    one, other = to_dict(a), to_dict(b)
    for values in (one, other):
        _change_paths(values, os.path.realpath)
    return _differing(one, other)


def _differing(a: Any, b: Any, path: str = "") -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [path]
    keys = [*a, *(key for key in b if key not in a)]
    return [found for key in keys for found in _differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)]
