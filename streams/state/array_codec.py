"""NumPy arrays inside MessagePack: little-endian float64, those of more than one dimension with their shape."""

from __future__ import annotations

from typing import Any

import numpy as np


def array_out(value: Any) -> Any:
    """Return an array's bytes, with the shape if it has more than one dimension, for msgspec's `enc_hook`.

    Raises:
        NotImplementedError: it is no array; this is how msgspec learns that.
    """
    if isinstance(value, np.ndarray):
        raw = value.astype("<f8").tobytes()
        return raw if value.ndim == 1 else (list(value.shape), raw)
    raise NotImplementedError(f"no format for {type(value).__name__}")


def array_in(kind: type, value: Any) -> Any:
    """Return the array in what `array_out` gave, for msgspec's `dec_hook`.

    Raises:
        NotImplementedError: no array is wanted; this is how msgspec learns that.
        ValueError: the bytes are not of that shape.
    """
    if kind is np.ndarray:
        shape, raw = value if isinstance(value, list) else ([-1], value)
        return np.frombuffer(raw, dtype="<f8").reshape(shape).copy()
    raise NotImplementedError(f"no format for {kind.__name__}")
