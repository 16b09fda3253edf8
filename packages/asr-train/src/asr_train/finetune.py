"""Training that does not start from nothing: weights from another recogniser, and parts that stay as they are."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_train import model_dir
from asr_train.errors import UserError
from asr_train.files import Arrays, read_arrays
from asr_train.tokenizer import Tokenizer

Pairs = NDArray[np.int64]
"""`(n, 2)`: the id of a unit in the old vocabulary, and in the new one."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The weights that a run starts with, and where they are from."""

    weights: dict[str, NDArray[Any]]
    whole: tuple[str, ...]
    """Taken as they are."""
    by_piece: tuple[str, ...]
    """Taken for the units that both vocabularies have."""
    fresh: tuple[str, ...]
    """Started anew: the old model has none of that name and shape."""
    unused: tuple[str, ...]
    """Of the old model, and of no use here."""


def take(old: Arrays, new: Arrays, *, axes: Mapping[str, int], pairs: Pairs) -> Taken:
    """The new model's weights, with those of the old one wherever they fit by name and shape.

    Args:
        old: the weights of the model to start from.
        new: the fresh weights of the new model.
        axes: the vocabulary's axis of each weight of the new model that has one; none if the vocabulary is the same.
        pairs: the units that both vocabularies have.
    """
    weights, whole, by_piece = dict(new), [], []
    for name, value in new.items():
        given = old.get(name)
        if given is None:
            continue
        axis = axes.get(name)
        if axis is None:
            if given.shape == value.shape:
                weights[name] = given
                whole.append(name)
        elif _fits(given, value, axis):
            mixed = np.moveaxis(value.copy(), axis, 0)
            mixed[pairs[:, 1]] = np.moveaxis(given, axis, 0)[pairs[:, 0]]
            weights[name] = np.ascontiguousarray(np.moveaxis(mixed, 0, axis))
            by_piece.append(name)
    used = {*whole, *by_piece}
    fresh, unused = (tuple(name for name in names if name not in used) for names in (new, old))
    return Taken(weights=weights, whole=tuple(whole), by_piece=tuple(by_piece), fresh=fresh, unused=unused)


def _fits(old: NDArray[Any], new: NDArray[Any], axis: int) -> bool:
    """Equal shapes but for the vocabulary's axis."""
    return old.ndim == new.ndim and np.delete(old.shape, axis).tolist() == np.delete(new.shape, axis).tolist()


def shared_pieces(old: Tokenizer, new: Tokenizer) -> Pairs:
    """The units of equal spelling; padding, unknown, begin and end stand for each other whatever they are called."""
    special = [("pad", old.pad, new.pad), ("unknown", old.unknown, new.unknown)]
    special += [("begin", old.begin, new.begin), ("end", old.end, new.end)]
    theirs = {id_ for _, id_, _ in special}
    ours = {id_ for _, _, id_ in special}
    ids = {piece: id_ for id_, piece in enumerate(old.pieces) if id_ not in theirs}
    plain = [(ids[piece], id_) for id_, piece in enumerate(new.pieces) if piece in ids and id_ not in ours]
    return np.array([*((a, b) for _, a, b in special), *plain], np.int64)


def vocabulary_axes(model: Any) -> dict[str, int]:
    """The weights of a Keras model that have an axis for the vocabulary, and which one it is.

    It is the axis that grows when the same model is built with one unit more.
    """
    larger = type(model)(model.config, features=model.features, vocab_size=model.vocab_size + 1)
    grown = {variable.path: tuple(variable.shape) for variable in larger.variables}
    return {
        variable.path: next(
            axis for axis, (a, b) in enumerate(zip(variable.shape, grown[variable.path], strict=True)) if a != b
        )
        for variable in model.variables
        if tuple(variable.shape) != grown[variable.path]
    }


def start_from(folder: Path, model: Any, tokenizer: Tokenizer) -> list[str]:
    """Set a new Keras model to the weights of a model folder, as far as they fit; lines that tell how far.

    Raises:
        UserError: not a model folder, a damaged one, or one of which nothing fits.
    """
    from asr_train.weights import arrays_of, assign

    _, theirs = model_dir.check(folder)
    same = theirs == tokenizer
    pairs = shared_pieces(theirs, tokenizer)
    old, new = read_arrays(folder / "weights.safetensors"), arrays_of(model.variables)
    taken = take(old, new, axes={} if same else vocabulary_axes(model), pairs=pairs)
    if not taken.whole:
        raise UserError(
            f"train.init_from: {folder} has no weight that fits this model; train.init_from=null starts anew"
        )
    assign(model.variables, taken.weights, str(folder))
    lines = [f"started from {folder}: {len(taken.whole)} of {len(new)} weights taken"]
    if taken.by_piece:
        count = f"{len(pairs)} of {tokenizer.size} units (the others start anew)"
        lines.append(f"  taken for the {count}: {', '.join(taken.by_piece)}")
    if taken.fresh:
        lines.append(f"  start anew: {', '.join(taken.fresh)}")
    if taken.unused:
        lines.append(f"  not taken: {', '.join(taken.unused)}")
    return lines


def frozen(names: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """The weights that patterns such as `listener.*` name; `*` stands for anything.

    Raises:
        UserError: a pattern names nothing, or all together name everything.
    """
    names = list(names)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            parts = ", ".join(dict.fromkeys(name.split("/")[0] for name in names))
            raise UserError(
                f"train.freeze: {pattern!r} is no weight; `PART/*` freezes a part, and the parts are {parts}"
            )
    found = frozenset(name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
    if found and len(found) == len(names):
        raise UserError("train.freeze: nothing is left to train; name fewer parts")
    return found
