"""Cells: the text of a CSV file -> values.

Rules:
1. The text of a cell alone decides what it is: an empty cell is missing, text that reads as a number is one (`nan` and
   `inf` are missing), any other text is a category.
2. In a column of classes (labels, predictions) `12` is the name of a class and `12.0` a number, as in the
   JSON of an event; `true` and `false` are booleans.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.windows.row import Value

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_decode = msgspec.json.Decoder(list[float]).decode
_decode_gaps = msgspec.json.Decoder(list[float | None]).decode
_TRUTH = {"true": True, "false": False}


def numbers(cells: Sequence[str]) -> Floats | None:
    """Return a column of numbers, NaN where there is none, or None when some cell is text.

    >>> numbers(["1", "", "inf"]), numbers(["1", "x"]), numbers(["1_0"])
    (array([ 1., nan, nan]), None, None)
    """
    try:
        # The decoder reads numbers faster than `float` does. A blank alone makes an empty list.
        if "" not in cells:
            read: Sequence[float | None] = _decode(f"[{','.join(cells)}]")
        elif "null" in cells:  # a word like any other
            return None
        else:
            read = _decode_gaps(f"[{','.join([cell or 'null' for cell in cells])}]")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _numbers(cells)
    return np.array(read, dtype=np.float64) if len(read) == len(cells) else _numbers(cells)


def _numbers(cells: Sequence[str]) -> Floats | None:
    """Return the same for cells that JSON does not know as numbers: `+1`, `.5`, `nan`, blanks."""
    found = np.empty(len(cells))
    for place, cell in enumerate(cells):
        value = _value(cell)
        if isinstance(value, str):
            return None
        found[place] = math.nan if value is None else value
    return found


def values(cells: Sequence[str]) -> list[Value]:
    """Return a column of values of any type; a missing value is None.

    >>> values(["1", "", "inf", "NO", "1_0"])
    [1.0, None, None, 'NO', '1_0']
    """
    # Most columns of text have few different values.
    meaning = {cell: _value(cell) for cell in set(cells)}
    return [meaning[cell] for cell in cells]


def _value(cell: str) -> Value:
    if not cell or cell.isspace():
        return None
    number = _number(cell)
    return cell if number is None else number if math.isfinite(number) else None


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def categories(cells: Sequence[str]) -> list[Value]:
    """Return a column whose numbers are names of categories; a missing value is None.

    >>> categories(["0123", ""])
    ['0123', None]
    """
    return [None if not cell or cell.isspace() else cell for cell in cells]


def classes(cells: Sequence[str]) -> list[Value]:
    """Return a column of labels or predictions; a missing value is None.

    >>> classes(["1", "1.0", "True", "cat", ""])
    [1, 1.0, True, 'cat', None]
    """
    meaning = {cell: _class(cell) for cell in set(cells)}
    return [meaning[cell] for cell in cells]


def _class(cell: str) -> Value:
    text = cell.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return _TRUTH.get(text.lower(), _value(cell))


def times(cells: Sequence[str]) -> list[Value]:
    """Return a column of times as in an event: numbers where the text is one, else text.

    >>> times(["1795246200", "2026-11-21T07:30:00Z", ""])
    [1795246200.0, '2026-11-21T07:30:00Z', None]
    """
    return [None if not text else text if (number := _number(text)) is None else number for text in map(str.strip, cells)]
