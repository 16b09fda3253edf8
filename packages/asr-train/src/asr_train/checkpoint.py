"""Whole-state checkpoints: everything that a run needs to go on, written atomically."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from asr_train.errors import UserError
from asr_train.folders import check_folder, whole_folder

Arrays = dict[str, NDArray[Any]]
KEEP = 2


@dataclass(kw_only=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Training steps made."""
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done of the epoch in progress: the position in the data."""
    seconds: float = 0.0
    """Time spent."""
    loss: float = 0.0
    """Sum of the losses of the epoch in progress."""
    tokens: float = 0.0
    """Number of labels under that sum."""
    best: tuple[float, float] = (float("inf"), float("inf"))
    """WER and loss of the best validation."""


def arrays_of(model: keras.Model) -> Arrays:
    """The model's weights by name."""
    return {variable.path: np.asarray(variable) for variable in model.variables}


def assign(model: keras.Model, arrays: Mapping[str, NDArray[Any]], where: str) -> None:
    """Set every weight of a model.

    Raises:
        UserError: a weight is missing, unknown or of another shape.
    """
    expected = {variable.path: variable for variable in model.variables}
    for name in sorted(expected.keys() ^ arrays.keys()):
        raise UserError(f"{where}: weight {name} is {'missing' if name in expected else 'not one of this model'}")
    for name, variable in expected.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise UserError(f"{where}: weight {name} has shape {arrays[name].shape}, expected {tuple(variable.shape)}")
        variable.assign(arrays[name])


def save(folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: Progress) -> Path:
    """Write `folder/step-N` and remove all but the newest two."""
    target = folder / f"step-{progress.step:08d}"
    with whole_folder(target) as partial:
        save_file(arrays_of(model), partial / "model.safetensors")
        # The names of an optimizer's variables need not be unique; their order is fixed by the model's.
        moments = {f"{n:05d}": np.asarray(variable) for n, variable in enumerate(optimizer.variables)}
        save_file(moments, partial / "optimizer.safetensors")
        (partial / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)
    return target


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and a word about each newer one that is not."""
    complaints: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            check_folder(path, ("model.safetensors", "optimizer.safetensors", "progress.json"))
        except UserError as error:
            complaints.append(f"skipped a damaged checkpoint: {error}")
        else:
            return path, complaints
    return None, complaints


def restore(path: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Progress:
    """Set model and optimizer to a checkpoint.

    Raises:
        UserError: the checkpoint is of another model.
    """
    assign(model, load_file(path / "model.safetensors"), str(path))
    moments = load_file(path / "optimizer.safetensors")
    if len(moments) != len(optimizer.variables):
        raise UserError(f"{path}: {len(moments)} optimizer variables, expected {len(optimizer.variables)}")
    for name, variable in zip(sorted(moments), optimizer.variables, strict=True):
        variable.assign(moments[name])
    values = json.loads((path / "progress.json").read_text(encoding="utf-8"))
    return Progress(**{**values, "best": tuple(values["best"])})
