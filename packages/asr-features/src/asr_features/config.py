"""Configurations as JSON, and a hash of what they say: the same function where it is trained and where it is used.

Only the kinds of this package are built, from a fixed table: no text imports or runs anything.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from .augment import SpecAugment
from .chain import Chain, Stage
from .deltas import Deltas
from .frontends import LogMel, Mfcc, Spectrogram
from .interfaces import Frontend
from .normalize import GlobalNorm, RunningNorm, UtteranceNorm
from .resampling import Resample

Config = (
    Spectrogram | LogMel | Mfcc | Deltas | UtteranceNorm | GlobalNorm | RunningNorm | SpecAugment | Resample | Chain
)

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Config)}

_HASH = re.compile(r"[A-Za-z]+(-[0-9a-f]{9})*")
_SPOKEN = {int: "an integer", float: "a number", str: "a string", bool: "true or false", NoneType: "null"}


def to_json(config: Config) -> str:
    """The configuration as JSON: its kind, every field, one a line, and its `content_hash`.

    Raises ValueError for anything that is not a configuration of this package, also within a Chain.
    """
    values = {**_plain(config, ""), "hash": content_hash(config)}
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()) + "\n}\n"


def from_json(text: str, *, expect: Config | str | None = None) -> Config:
    """The configuration that `to_json` wrote, or somebody wrote by hand: without a hash, defaults left out.

    `expect` is what it must be: another configuration, or a `content_hash`.

    Raises ValueError, in one line: no JSON; an unknown kind or field, with the nearest that there is; a missing
    field; a wrong type; whatever the configuration itself refuses; fields that are not those of the hash
    beside them or of `expect`, each named with both values where they are known.
    """
    try:
        config: Config = _build(_parse(text), "")
    except RecursionError:
        raise ValueError("text: expected a configuration, got JSON that is nested too deeply") from None
    if expect is not None:
        differences = _against(config, expect) if isinstance(expect, str) else _between(config, expect)
        if differences:
            raise ValueError(f"{_kind(config)}: not what is expected: {'; '.join(differences)}")
    return config


def content_hash(config: Config) -> str:
    """The kind and nine hexadecimal digits for every field that is not at its default: "LogMel-0c5a1b2c3".

    Equal configurations have equal hashes; different ones have different hashes, but for one chance in 16
    million. Three digits are of the field's name and six of its name and value (SHA-256), so that a hash alone
    tells which fields differ. Defaults are left out: a field that a later version adds changes no hash.

    Raises ValueError for anything that is not a configuration of this package, also within a Chain.
    """
    _plain(config, "")
    groups = [_group(leaf) for leaf in sorted(_leaves(config), key=lambda leaf: leaf.name) if not leaf.is_default]
    return "-".join([_kind(config), *groups])


class _Leaf(NamedTuple):
    """A plain value, a nested configuration's kind or a list of kinds, by its dotted name."""

    name: str
    value: Any
    default: Any
    is_default: bool


def _leaves(config: Config, path: str = "", is_default: bool = False) -> Iterator[_Leaf]:
    """The values of a configuration and of those in it, a nested one's kind before its fields."""
    for field in dataclasses.fields(config):
        name, value, default = path + field.name, getattr(config, field.name), field.default
        same = is_default or value == default
        if _is_config(value):
            yield _Leaf(name, _kind(value), default, same)
            yield from _leaves(value, f"{name}.", same)
        elif isinstance(value, tuple) and any(map(_is_config, value)):
            yield _Leaf(name, tuple(map(_kind, value)), default, same)
            for number, item in enumerate(value):
                yield from _leaves(item, f"{name}.{number}.", same)
        else:
            yield _Leaf(name, value, default, same)


def _group(leaf: _Leaf) -> str:
    return _tag(leaf.name) + _digest(f"{leaf.name}={_text(leaf.value)}")[:6]


def _tag(name: str) -> str:
    return _digest(name)[:3]


def _digest(text: str) -> str:
    from hashlib import sha256  # slow to import, and only wanted here

    return sha256(text.encode()).hexdigest()


def _text(value: Any) -> str:
    """The same for values that compare equal: 1, 1.0 and True; 0.0 and -0.0. `repr` of a float is exact."""
    if isinstance(value, tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, int | float):
        return repr(int(value)) if abs(value) >= 2**53 and value == int(value) else repr(float(value) + 0.0)
    return json.dumps(value)


def _between(config: Config, expected: Config) -> list[str]:
    """How a configuration differs from another. What only one of them has is told by the kind above it."""
    _plain(expected, "expect")
    if type(config) is not type(expected):
        return [f"kind is {_kind(config)}, expected {_kind(expected)}"]
    wanted = {leaf.name: leaf.value for leaf in _leaves(expected)}
    told: list[str] = []
    above: list[str] = []
    for name, value in ((leaf.name, leaf.value) for leaf in _leaves(config)):
        if name not in wanted or name.startswith(tuple(above)) or _text(value) == _text(wanted[name]):
            continue
        other = wanted[name]
        if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
            place = next(i for i, pair in enumerate(zip(value, other, strict=True)) if pair[0] != pair[1])
            name, value, other = f"{name}.{place}", value[place], other[place]
        above.append(f"{name}.")
        told.append(f"{name} is {_short(value)}, expected {_short(other)}")
    return told


def _against(config: Config, expected: str) -> list[str]:
    """How a configuration differs from what a hash was made of."""
    if not _HASH.fullmatch(expected):
        raise ValueError(f"hash: expected a kind and groups of nine hexadecimal digits, got {_short(expected)}")
    kind, *groups = expected.split("-")
    if kind != _kind(config):
        return [f"kind is {_kind(config)}, expected {kind}"]
    leaves = list(_leaves(config))
    wanted = set(groups) - {_group(leaf) for leaf in leaves if not leaf.is_default}
    told: list[str] = []
    above: list[str] = []
    for leaf in leaves:
        # Below a kind that differs the fields are others, so all of them differ.
        if leaf.name.startswith(tuple(above)) or _group(leaf) in groups:
            continue
        others = {group for group in wanted if group.startswith(_tag(leaf.name))}
        if leaf.is_default and not others:
            continue
        wanted -= others
        above.append(f"{leaf.name}.")
        known = not others and leaf.default is not dataclasses.MISSING
        told.append(
            f"{leaf.name} is {_short(leaf.value)}, expected {_short(leaf.default) if known else 'another value'}"
        )
    if wanted and not told:
        told.append(f"{len(wanted)} groups of the hash are of fields that this version does not have")
    return told


def _plain(config: Any, path: str) -> dict[str, Any]:
    """A configuration as JSON has it; raises ValueError for what `from_json` would not take."""
    if not _is_config(config):
        raise ValueError(f"{path or 'config'}: expected one of {', '.join(KINDS)}, got {_short(config)}")
    hints = get_type_hints(type(config))
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            values[name] = _plain(value, _join(path, name))
        elif isinstance(value, tuple) and hints[name] == tuple[Stage, ...]:
            values[name] = [_plain(item, f"{_join(path, name)}.{number}") for number, item in enumerate(value)]
        else:
            _check_type(_join(path, name), value, hints[name])
    return {"kind": _kind(config), **values}


def _parse(text: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) < len(items):
            raise ValueError(f"a field is there twice among {', '.join(name for name, _ in items)}")
        return dict(items)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number")

    if not isinstance(text, str):
        raise ValueError(f"text: expected a string of JSON, got {type(text).__name__}")
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except ValueError as error:
        raise ValueError(f"text: expected JSON: {error}") from None


def _build(values: Any, path: str) -> Any:
    """The configuration of a mapping, and those within it."""
    where = f"{path}: " if path else ""
    if not isinstance(values, dict) or "kind" not in values:
        raise ValueError(
            f"{where or 'text: '}expected a mapping with a kind of {', '.join(KINDS)}, got {_short(values)}"
        )
    given = dict(values)
    kind, stored = given.pop("kind"), given.pop("hash", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}kind: expected one of {', '.join(KINDS)}, got {_short(kind)}{_nearest(kind, KINDS)}")
    fields = {field.name: field for field in dataclasses.fields(KINDS[kind])}
    hints = get_type_hints(KINDS[kind])
    for name, value in given.items():
        if name not in fields:
            near = _nearest(name, fields)
            raise ValueError(f"{where}{kind} has no field {_short(name)}{near}; it has {', '.join(fields)}")
        given[name] = _decode(value, _join(path, name))
        _check_type(_join(path, name), given[name], hints[name])
    missing = [name for name, field in fields.items() if name not in given and field.default is dataclasses.MISSING]
    if missing:
        raise ValueError(f"{where}{kind} is missing {', '.join(missing)}")
    try:
        config = KINDS[kind](**given)
    except (ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where}{kind}: {error}") from error
    if stored is not None:
        _check_type(_join(path, "hash"), stored, str)
        differences = _against(config, stored)
        if differences:
            raise ValueError(
                f"{where}{kind}: not what its hash was made of: {'; '.join(differences)}; "
                "remove the hash if the change is meant"
            )
    return config


def _decode(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return _build(value, path)
    if isinstance(value, list):
        return tuple(_decode(item, f"{path}.{number}") for number, item in enumerate(value))
    return value


def _check_type(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        raise ValueError(f"{name}: expected {_spoken(hint)}, got {_short(value)}")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, arg) for arg in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint in (Frontend, Stage):
        return _is_config(value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool) and abs(value) < math.inf
    return isinstance(value, hint)


def _spoken(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spoken(arg) for arg in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each {_spoken(get_args(hint)[0])}"
    if hint in (Frontend, Stage):
        return f"one of {', '.join(KINDS)}"
    return _SPOKEN.get(hint, f"a {hint.__name__}")


def _is_config(value: Any) -> bool:
    return type(value) in KINDS.values()


def _kind(config: Any) -> str:
    return type(config).__name__


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _nearest(name: Any, names: Any) -> str:
    from difflib import get_close_matches  # only wanted for an error

    near = get_close_matches(str(name), list(names), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
