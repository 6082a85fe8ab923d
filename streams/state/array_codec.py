"""NumPy arrays inside MessagePack, little-endian; what comes back has the type and shape that went in.

Forms, by what an array is:

================================  ==================================
float64 of one dimension          its bytes
other float64                     [shape, bytes]
any other type                    [type, shape, bytes], type as in "|b1"
================================  ==================================

The version of a reference file is a hash of the forms of float64 (streams/state/reference_file.py), so these never change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FLOAT64 = np.dtype("<f8")


def array_out(value: Any) -> Any:
    """Return the form of an array, for msgspec's `enc_hook`.

    Raises:
        NotImplementedError: it is no array; this is how msgspec learns that.
        TypeError: its values are Python objects, which have no bytes of their own.
    """
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"no format for {type(value).__name__}")
    little = value.dtype.newbyteorder("<")
    if little.hasobject:
        raise TypeError("no format for an array of objects")
    raw = value.astype(little).tobytes()
    if little != _FLOAT64:
        return (little.str, list(value.shape), raw)
    return raw if value.ndim == 1 else (list(value.shape), raw)


def array_in(kind: type, value: Any) -> Any:
    """Return the array of a form that `array_out` gave, for msgspec's `dec_hook`.

    Raises:
        NotImplementedError: no array is wanted; this is how msgspec learns that.
        ValueError: the bytes are not of that type or shape.
        TypeError: there is no such type.
    """
    if kind is not np.ndarray:
        raise NotImplementedError(f"no format for {kind.__name__}")
    if not isinstance(value, list):
        return np.frombuffer(value, dtype=_FLOAT64).copy()
    *named, shape, raw = value
    return np.frombuffer(raw, dtype=np.dtype(named[0]) if named else _FLOAT64).reshape(shape).copy()
