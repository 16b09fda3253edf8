"""The variables of Keras as arrays by name, and back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_train.errors import UserError
from asr_train.files import Arrays


def arrays_of(variables: Iterable[Any]) -> dict[str, NDArray[Any]]:
    """Copies of the variables' values by their paths."""
    return {variable.path: np.copy(variable.numpy()) for variable in variables}


def assign(variables: Iterable[Any], arrays: Arrays, where: str) -> None:
    """Set every variable.

    Raises:
        UserError: a weight is missing, unknown or of another shape; nothing was set.
    """
    expected = {variable.path: variable for variable in variables}
    for name in sorted(expected.keys() ^ arrays.keys()):
        raise UserError(f"{where}: weight {name} is {'missing' if name in expected else 'not one of this model'}")
    for name, variable in expected.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise UserError(f"{where}: weight {name} has shape {arrays[name].shape}, expected {tuple(variable.shape)}")
    for name, variable in expected.items():
        variable.assign(arrays[name])
