"""NumPy arrays inside MessagePack: little-endian float64, one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np


def array_out(value: Any) -> Any:
    """Return an array's bytes, for msgspec's `enc_hook`.

    Raises:
        NotImplementedError: it is no array; this is how msgspec learns that.
    """
    if isinstance(value, np.ndarray):
        return value.astype("<f8").tobytes()
    raise NotImplementedError(f"no format for {type(value).__name__}")


def array_in(kind: type, value: Any) -> Any:
    """Return the array in some bytes, for msgspec's `dec_hook`.

    Raises:
        NotImplementedError: no array is wanted; this is how msgspec learns that.
    """
    if kind is np.ndarray:
        return np.frombuffer(value, dtype="<f8").copy()
    raise NotImplementedError(f"no format for {kind.__name__}")
