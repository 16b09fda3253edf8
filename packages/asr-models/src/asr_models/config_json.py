"""Configurations as plain values and as JSON, both ways; an unknown key or a wrong type is refused in one line."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from asr_models.configs import DeepSpeech2Config, LasConfig

Config = DeepSpeech2Config | LasConfig
KINDS: dict[str, type[Config]] = {cls.kind: cls for cls in (DeepSpeech2Config, LasConfig)}


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values with their `kind`, from which `from_dict` makes the same configuration."""
    return {"kind": config.kind, **_plain(dataclasses.asdict(config))}


def from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration of plain values; what they do not name is at its default.

    Raises:
        ValueError: an unknown kind or key, a wrong type, or a value that the configuration refuses.
    """
    kind = values.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    config: Config = _build(KINDS[kind], {key: value for key, value in values.items() if key != "kind"}, kind)
    return config


def to_json(config: Config) -> str:
    """`to_dict` as text, one key a line."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """`from_dict` of text.

    Raises:
        ValueError: not JSON, not an object, or anything that `from_dict` refuses.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"a configuration is JSON, and this is not: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"a configuration is a JSON object, got {values!r}")
    return from_dict(values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _build(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}, expected an object")
    names, hints = [field.name for field in dataclasses.fields(cls)], get_type_hints(cls)
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown key {name!r} in {where}: {guess}The names are {', '.join(names)}")
    return cls(**{name: _read(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _read(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type that a field has: a number, a word, a flag, a dataclass, or a tuple of them."""
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if items := get_args(hint):
        if not isinstance(value, list | tuple) or (items[-1] is not ... and len(value) != len(items)):
            length = "a list" if items[-1] is ... else f"a list of {len(items)}"
            raise ValueError(f"{where} is {value!r}, expected {length}")
        return tuple(_read(items[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    allowed = (int, float) if hint is float else hint
    # A flag is an int to Python.
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} is {value!r}, expected {hint.__name__}")
    return value
