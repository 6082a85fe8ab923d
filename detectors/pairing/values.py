"""Values of any type as numbers of 64 bits, so that answers and labels are columns.

Rules:
1. A number with a fraction is its own bits. Everything else is a NaN with a payload, which no event can carry: whole
   numbers below 2^49 are in the payload; false, true, null, texts and larger numbers are codes.
2. Equal numbers stand for equal values of one type: 1, 1.0, true and "1" are four values.
3. Codes of texts are those of one object. What is stored elsewhere carries its texts along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.windows.row import Value

U64 = NDArray[np.uint64]

#: Payloads of codes and of whole numbers: both are negative quiet NaNs.
_CODE, _WHOLE = 0xFFF8 << 48, 0xFFFC << 48
_PAYLOAD = (1 << 50) - 1
_MOST_WHOLE = 1 << 49
_SHIFT = np.uint64(50)
_IS_CODE, _IS_WHOLE = np.uint64(_CODE >> 50), np.uint64(_WHOLE >> 50)
#: No label came yet; there will never be a label; false; true.
UNKNOWN, NULL, FALSE, TRUE = (np.uint64(_CODE + code) for code in range(4))
#: The first code of a text.
_FIRST = 4

H = TypeVar("H")


class Words(Generic[H]):
    """Values of one kind <-> small numbers, from 0 on in the order in which they come.

    >>> words = Words()
    >>> words.codes(["b", "a", "b"]).tolist(), words.values_of([1, 0])
    ([0, 1, 0], ['a', 'b'])
    """

    __slots__ = ("_codes", "_free", "_values", "longest")

    def __init__(self) -> None:
        self._codes: dict[H, int] = {}
        self._values: list[H | None] = []
        self._free: list[int] = []
        #: Bytes of the longest value so far.
        self.longest = 0

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._codes)

    def code(self, value: H) -> int:
        """Return the number of a value, a new one if it has none."""
        code = self._codes.get(value)
        if code is None:
            if self._free:
                code = self._free.pop()
                self._values[code] = value
            else:
                code = len(self._values)
                self._values.append(value)
            self._codes[value] = code
            self.longest = max(self.longest, bytes_of(value))
        return code

    def sizes(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bytes of the values of numbers, shape (n,)."""
        distinct, places = np.unique(codes, return_inverse=True)
        return np.array([bytes_of(value) for value in self.values_of(distinct.tolist())], np.int64)[places]

    def codes(self, values: Sequence[H]) -> NDArray[np.int64]:
        """Return the numbers of values, shape (n,)."""
        try:
            return np.fromiter(map(self._codes.__getitem__, values), np.int64, len(values))
        except KeyError:
            for value in dict.fromkeys(values):
                self.code(value)
            return np.fromiter(map(self._codes.__getitem__, values), np.int64, len(values))

    def values_of(self, codes: Iterable[int]) -> list[H]:
        """Return the values of numbers."""
        return list(map(self._values.__getitem__, codes))  # type: ignore[arg-type] # a code in use has a value

    def keep(self, codes: NDArray[np.int64]) -> None:
        """Forget every value but those of these numbers, which stay theirs."""
        kept = set(codes.tolist())
        for value, code in list(self._codes.items()):
            if code not in kept:
                del self._codes[value]
                self._values[code] = None
                self._free.append(code)


def bytes_of(value: object) -> int:
    """Return the bytes of a text, or of the texts in a tuple; 0 for anything else.

    >>> bytes_of("\u00e4"), bytes_of(("a", None)), bytes_of(1)
    (2, 1, 0)
    """
    if isinstance(value, str):
        return len(value.encode())
    return sum(map(bytes_of, value)) if isinstance(value, tuple) else 0


class Boxes:
    """Values as numbers, and back.

    >>> boxes = Boxes()
    >>> boxes.values_of(boxes.boxed([True, 1, 1.0, "1", None]))
    [True, 1, 1.0, '1', None]
    """

    __slots__ = ("words",)

    def __init__(self) -> None:
        #: Texts, and whole numbers of more than 49 bits.
        self.words: Words[str | int] = Words()

    def boxed(self, values: Sequence[Value]) -> U64:
        """Return values as numbers, shape (n,)."""
        kinds = set(map(type, values))
        if len(kinds) == 1:
            return self._of_one_kind(kinds.pop(), values)
        return np.array([self.box(value) for value in values], np.uint64)

    def _of_one_kind(self, kind: type, values: Sequence[Value]) -> U64:
        if kind is bool:
            return np.array(values, np.uint64) + FALSE
        if kind is type(None):
            return np.full(len(values), NULL)
        if kind is str:
            return self.words.codes(values).astype(np.uint64) + np.uint64(_CODE + _FIRST)  # type: ignore[arg-type]
        if kind is float:
            numbers = np.array(values, np.float64) + 0.0  # -0.0 becomes 0.0
            return np.where(np.isnan(numbers), NULL, numbers.view(np.uint64))
        return np.array([self.box(value) for value in values], np.uint64)

    def box(self, value: Value) -> int:
        """Return one value as a number."""
        if value is None or value != value:  # noqa: PLR0124 - not a number
            return int(NULL)
        if isinstance(value, bool):
            return int(TRUE if value else FALSE)
        if isinstance(value, float):
            return int(np.float64(value + 0.0).view(np.uint64))
        if isinstance(value, int) and -_MOST_WHOLE <= value < _MOST_WHOLE:
            return _WHOLE | (value & _PAYLOAD)
        return _CODE + _FIRST + self.words.code(value)

    def sizes(self, boxes: U64) -> NDArray[np.int64]:
        """Return the bytes of the texts that boxes refer to, shape (n,)."""
        refers = ((boxes >> _SHIFT) == _IS_CODE) & (boxes >= np.uint64(_CODE + _FIRST))
        found = np.zeros(len(boxes), np.int64)
        found[refers] = self.words.sizes((boxes[refers] - np.uint64(_CODE + _FIRST)).astype(np.int64))
        return found

    def values_of(self, boxes: U64) -> list[Value]:
        """Return the values of numbers; None for `UNKNOWN` and `NULL`."""
        kinds = boxes >> _SHIFT
        codes = kinds == _IS_CODE
        if codes.all():
            return self._coded(boxes)
        if not (codes | (kinds == _IS_WHOLE)).any():
            numbers: list[Value] = boxes.view(np.float64).tolist()
            return numbers
        return [self.value(box) for box in boxes.tolist()]

    def _coded(self, boxes: U64) -> list[Value]:
        codes = (boxes - np.uint64(_CODE)).astype(np.int64)
        if not len(codes) or codes.max() < _FIRST:
            return list(map((None, None, False, True).__getitem__, codes.tolist()))
        if codes.min() >= _FIRST:
            return self.words.values_of((codes - _FIRST).tolist())  # type: ignore[return-value]
        return [self.value(box) for box in boxes.tolist()]

    def value(self, box: int) -> Value:
        """Return one value."""
        kind = box >> 50
        if kind == _IS_CODE:
            code = box - _CODE
            return self.words.values_of([code - _FIRST])[0] if code >= _FIRST else (None, None, False, True)[code]
        if kind == _IS_WHOLE:
            payload = box & _PAYLOAD
            return payload - (1 << 50) if payload >= _MOST_WHOLE else payload
        return float(np.uint64(box).view(np.float64))


def word_codes(boxes: U64) -> NDArray[np.int64]:
    """Return the numbers in `Boxes.words` that boxes refer to, each once."""
    codes = boxes[(boxes >> _SHIFT) == _IS_CODE] - np.uint64(_CODE)
    return np.unique(codes[codes >= _FIRST]).astype(np.int64) - _FIRST


def text_bytes(boxes: U64, words: Mapping[int, str | int]) -> NDArray[np.int64]:
    """Return the bytes of the texts that boxes refer to, shape (n,)."""
    refers = ((boxes >> _SHIFT) == _IS_CODE) & (boxes >= np.uint64(_CODE + _FIRST))
    sizes = np.zeros(len(boxes), np.int64)
    if words and refers.any():
        known = sorted(words)
        of_word = np.array([len(str(words[code]).encode()) for code in known])
        codes = (boxes[refers] - np.uint64(_CODE + _FIRST)).astype(np.int64)
        sizes[refers] = of_word[np.searchsorted(np.array(known), codes)]
    return sizes


def with_codes(boxes: U64, old: NDArray[np.int64], new: NDArray[np.int64]) -> U64:
    """Return boxes with the numbers of their words replaced: `old`, growing, by `new`."""
    refers = ((boxes >> _SHIFT) == _IS_CODE) & (boxes >= np.uint64(_CODE + _FIRST))
    if not refers.any():
        return boxes
    codes = (boxes[refers] - np.uint64(_CODE + _FIRST)).astype(np.int64)
    replaced = boxes.copy()
    replaced[refers] = new[np.searchsorted(old, codes)].astype(np.uint64) + np.uint64(_CODE + _FIRST)
    return replaced
