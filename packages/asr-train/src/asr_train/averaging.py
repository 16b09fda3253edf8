"""The mean of several checkpoints of a run, which is often better than each of them. Nothing here loads TensorFlow."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_train import checkpoint, model_dir
from asr_train.card import averaged_card
from asr_train.errors import UserError
from asr_train.files import Arrays, read_arrays
from asr_train.folders import check_folder
from asr_train.run import read_parts
from asr_train.tokenizer import Tokenizer


def mean(sources: Iterable[tuple[str, Arrays]]) -> dict[str, NDArray[Any]]:
    """The mean of named sets of arrays, one set in memory at a time; of whole numbers, the last set's.

    Raises:
        UserError: a set has other names or shapes than the first, or there is none.
    """
    first, sums, count = "", {}, 0
    kinds: dict[str, np.dtype[Any]] = {}
    for where, arrays in sources:
        count += 1
        if count == 1:
            first, kinds = where, {name: value.dtype for name, value in arrays.items()}
            sums = {name: np.zeros(value.shape, np.float64) for name, value in arrays.items()}
        for name in sorted(sums.keys() ^ arrays.keys()):
            raise UserError(
                f"{where}: weight {name} is in only one of it and {first}; average checkpoints of one model"
            )
        for name, value in arrays.items():
            if value.shape != sums[name].shape:
                raise UserError(f"{where}: weight {name} has shape {value.shape}, in {first} {sums[name].shape}")
            # Half precision of any kind is a float to numpy's `isinf`, but not to `issubdtype`.
            sums[name] = value if value.dtype.kind in "iub" else sums[name] + value.astype(np.float64)
    if not count:
        raise UserError("nothing to average: give at least one checkpoint")
    return {
        name: value if kinds[name].kind in "iub" else (value / count).astype(kinds[name])
        for name, value in sums.items()
    }


def weights_of(folder: Path) -> Arrays:
    """The weights for use of a checkpoint (its moving averages, where it has them) or of a model folder."""
    if not (folder / "progress.json").is_file():
        return read_arrays(folder / "weights.safetensors")
    groups, _ = checkpoint.read(folder)
    return {**groups["model"], **groups.get("ema", {})}


def mean_of_steps(checkpoints: Path, steps: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The mean of the weights for use of a run's checkpoints.

    Raises:
        UserError: one of them is gone or damaged.
    """
    folders = [checkpoint.path_of(checkpoints, step) for step in steps]
    for folder in folders:
        check_folder(folder, ("model.safetensors", "progress.json"))
    return mean((str(folder), weights_of(folder)) for folder in folders)


def average(folders: Sequence[Path], output: Path) -> None:
    """Write the model folder of the mean of checkpoints, or of model folders.

    Raises:
        UserError: a folder is neither, is damaged, or is of another recogniser than the first; `output` is in use.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: already there; choose another --output")
    parts, tokenizer = _describe(folders[0])
    for folder in folders[1:]:
        others, their_tokenizer = _describe(folder)
        differing = [name for name in ("frontend", "normalize", "model") if others[name] != parts[name]]
        if their_tokenizer != tokenizer:
            differing.append("tokenizer")
        if differing:
            raise UserError(f"{folder}: its {' and '.join(differing)} differ from those of {folders[0]}")
    weights = mean((str(folder), weights_of(folder)) for folder in folders)
    model_dir.write(output, parts, tokenizer, weights, averaged_card(parts, tokenizer, folders))


def _describe(folder: Path) -> tuple[dict[str, Any], Tokenizer]:
    if (folder / "progress.json").is_file():
        check_folder(folder, ("model.safetensors", "progress.json"))
        return read_parts(folder.absolute().parent.parent)
    if (folder / "config.json").is_file():
        return model_dir.check(folder)
    raise UserError(f"{folder}: neither a checkpoint (RUN/checkpoints/step-N) nor a model folder")
