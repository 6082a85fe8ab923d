"""Types of arrays, and an operation that any of them may need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


Integers = NDArray[np.int64]


Flags = NDArray[np.bool_]


def widened(array: np.ndarray, columns: int) -> np.ndarray:
    """Return an array with columns of zeros appended to its last axis: shape (..., n) -> (..., n + columns)."""
    return np.concatenate([array, np.zeros((*array.shape[:-1], columns))], axis=-1)
