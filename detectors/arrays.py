"""Types of arrays, and an operation that any of them may need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


def widened(array: np.ndarray, columns: int) -> np.ndarray:
    """Return an array with columns of zeros appended to its last axis, of the same type: shape (..., n) -> (..., n + columns).

    >>> widened(np.array([True]), 1).tolist()
    [True, False]
    """
    return np.concatenate([array, np.zeros((*array.shape[:-1], columns), dtype=array.dtype)], axis=-1)
