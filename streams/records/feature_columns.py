"""Columns of features for training: what each prediction was made with, value and type.

Rules:
1. A value is None for null, and `ABSENT` if the prediction does not have the feature. Readers tell the two apart.
2. A column of numbers keeps which of them are integers: 3 and 3.0 are different values to a model that encodes
   categories. An integer beyond 2**53 is no exact double, so a column that has one is a list.
3. A column of few words, or of false and true, keeps indices into the list of its words. Any other column is a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Flags, Floats, Integers
from detectors.windows.block import ABSENT
from detectors.windows.row import Value

Bytes = NDArray[np.uint8]
Word = str | bool

#: States of a cell: it has a value, is null, or is absent.
GIVEN, NULL, LACKING = 0, 1, 2
#: Integers up to this one, and down to its negative, are exact as doubles.
GREATEST_EXACT = 1 << 53
#: Words of a column at most: an index is one byte.
MOST_WORDS = 255


@dataclass(frozen=True, slots=True)
class NumberCells:
    """Numbers.

    Args:
        numbers: shape (n,), 0.0 where there is no value.
        integers: whether each is an integer, shape (n,), or all alike.
        states: `GIVEN`, `NULL` or `LACKING`, shape (n,); None if every cell has a value.
    """

    numbers: Floats
    integers: Flags | bool
    states: Bytes | None

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.numbers)

    def cut(self, low: int, high: int) -> NumberCells:
        """Return the cells `low` to `high` (not included)."""
        integers = self.integers if isinstance(self.integers, bool) else self.integers[low:high]
        return NumberCells(self.numbers[low:high], integers, _cut(self.states, low, high))

    def values(self, at: Integers) -> list[Value]:
        """Return the values at these indices."""
        found: list[Value] = self.numbers[at].tolist()
        if self.integers is True:
            found = list(map(int, self.numbers[at].tolist()))
        elif not isinstance(self.integers, bool):
            numbers = self.numbers[at]
            for place in np.flatnonzero(self.integers[at]).tolist():
                found[place] = int(numbers[place])
        return _with_gaps(found, self.states, at)


@dataclass(frozen=True, slots=True)
class WordCells:
    """Few different words, or false and true.

    Args:
        words: the different values, at most `MOST_WORDS`.
        codes: index into `words`, shape (n,), 0 where there is no value.
        states: as in `NumberCells`.
    """

    words: tuple[Word, ...]
    codes: Bytes
    states: Bytes | None

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.codes)

    def cut(self, low: int, high: int) -> WordCells:
        """Return the cells `low` to `high` (not included)."""
        return WordCells(self.words, self.codes[low:high], _cut(self.states, low, high))

    def values(self, at: Integers) -> list[Value]:
        """Return the values at these indices."""
        words = self.words
        return _with_gaps([words[code] for code in self.codes[at].tolist()], self.states, at)


@dataclass(frozen=True, slots=True)
class ListCells:
    """Values of any types, None and `ABSENT` among them."""

    cells: Sequence[Value]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.cells)

    def cut(self, low: int, high: int) -> ListCells:
        """Return the cells `low` to `high` (not included)."""
        return ListCells(self.cells[low:high])

    def values(self, at: Integers) -> list[Value]:
        """Return the values at these indices."""
        return [self.cells[place] for place in at.tolist()]


Cells = NumberCells | WordCells | ListCells


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """The features of predictions of one model in one partition of events.

    Args:
        model: name of the model.
        offsets: of the predictions in the partition, growing, shape (n,), n > 0.
        columns: feature -> its cells, each of length n.
    """

    model: str
    offsets: Integers
    columns: Mapping[str, Cells]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets)

    def cut(self, low: int, high: int) -> FeatureRows:
        """Return the rows `low` to `high` (not included)."""
        return FeatureRows(
            self.model, self.offsets[low:high], {name: cells.cut(low, high) for name, cells in self.columns.items()}
        )

    def features(self, at: Integers) -> list[dict[str, Value]]:
        """Return the features of the rows at these indices, names in order; a feature that is absent has no entry."""
        names = sorted(self.columns)
        if not names:
            return [{} for _ in at]
        columns = [self.columns[name].values(at) for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        lacking = {name for name, column in zip(names, columns, strict=True) if any(value is ABSENT for value in column)}
        if lacking:
            rows = [{name: value for name, value in row.items() if name not in lacking or value is not ABSENT} for row in rows]
        return rows


def number_cells(numbers: Floats, integers: Flags | bool, absent: Flags | None) -> NumberCells:
    """Return numbers, NaN where there is none, as cells; `absent` are the gaps that are absent, the others are null."""
    gaps = np.isnan(numbers)
    if not gaps.any():
        return NumberCells(numbers, integers, None)
    return NumberCells(np.where(gaps, 0.0, numbers), integers, _states(gaps, absent))


def word_cells(words: tuple[Word, ...], codes: Floats, absent: Flags | None) -> Cells:
    """Return indices into at most `MOST_WORDS` words, NaN where there is none, as cells."""
    gaps = np.isnan(codes)
    if gaps.all():  # no index is valid if there are no words
        return number_cells(codes, False, absent)
    if not gaps.any():
        return WordCells(words, codes.astype(np.uint8), None)
    return WordCells(words, np.where(gaps, 0.0, codes).astype(np.uint8), _states(gaps, absent))


def value_cells(values: Sequence[Value]) -> Cells:
    """Return values of any types as cells, numbers as numbers if they are exact."""
    kinds = {type(value) for value in values if value is not None and value is not ABSENT}
    if not kinds <= {int, float} or any(type(value) is int and abs(value) > GREATEST_EXACT for value in values):
        return ListCells(values)
    gaps = np.fromiter((value is None or value is ABSENT for value in values), bool, len(values))
    numbers = np.fromiter((0.0 if value is None or value is ABSENT else value for value in values), np.float64, len(values))
    integers: Flags | bool = kinds == {int}
    if len(kinds) == 2:
        integers = np.fromiter((type(value) is int for value in values), bool, len(values))
    absent = np.fromiter((value is ABSENT for value in values), bool, len(values)) if gaps.any() else None
    return NumberCells(numbers, integers, _states(gaps, absent) if gaps.any() else None)


def joined(pieces: Sequence[FeatureRows]) -> FeatureRows:
    """Return rows of one model one after the other; a feature that a piece does not have is absent in its rows."""
    if len(pieces) == 1:
        return pieces[0]
    names = dict.fromkeys(name for piece in pieces for name in piece.columns)
    columns = {name: _joined([piece.columns.get(name) or _lacking(len(piece)) for piece in pieces]) for name in names}
    return FeatureRows(pieces[0].model, np.concatenate([piece.offsets for piece in pieces]), columns)


def _joined(parts: Sequence[Cells]) -> Cells:
    told = [part for part in parts if not _is_empty(part)]
    if all(isinstance(part, NumberCells) for part in told):
        return _joined_numbers([part for part in parts if isinstance(part, NumberCells)])
    words = dict.fromkeys((type(word), word) for part in told if isinstance(part, WordCells) for word in part.words)
    if len(words) <= MOST_WORDS and all(isinstance(part, WordCells) for part in told):
        return _joined_words(parts, {word: place for place, word in enumerate(words)})
    return ListCells([value for part in parts for value in part.values(np.arange(len(part)))])


def _joined_numbers(parts: Sequence[NumberCells]) -> NumberCells:
    kinds = {part.integers for part in parts if isinstance(part.integers, bool) and not _is_empty(part)}
    integers: Flags | bool
    if len(kinds) <= 1 and all(isinstance(part.integers, bool) for part in parts):
        integers = True in kinds
    else:
        integers = np.concatenate([np.broadcast_to(part.integers, len(part)) for part in parts])
    return NumberCells(np.concatenate([part.numbers for part in parts]), integers, _joined_states(parts))


def _joined_words(parts: Sequence[Cells], places: Mapping[tuple[type, Word], int]) -> WordCells:
    codes = [
        np.array([places[type(word), word] for word in part.words], dtype=np.uint8)[part.codes]
        if isinstance(part, WordCells)
        else np.zeros(len(part), dtype=np.uint8)
        for part in parts
    ]
    return WordCells(tuple(word for _, word in places), np.concatenate(codes), _joined_states(parts))


def _joined_states(parts: Sequence[Cells]) -> Bytes | None:
    states = [None if isinstance(part, ListCells) else part.states for part in parts]
    if not any(state is not None for state in states):
        return None
    known = [np.zeros(len(part), np.uint8) if state is None else state for part, state in zip(parts, states, strict=True)]
    return np.concatenate(known)


def _lacking(rows: int) -> NumberCells:
    return NumberCells(np.zeros(rows), False, np.full(rows, LACKING, dtype=np.uint8))


def _is_empty(part: Cells) -> bool:
    """Return whether no cell has a value; then its type says nothing."""
    return isinstance(part, NumberCells) and part.states is not None and bool(part.states.all())


def _states(gaps: Flags, absent: Flags | None) -> Bytes:
    states = gaps.astype(np.uint8) * np.uint8(NULL)
    if absent is not None:
        states[absent] = LACKING
    return states


def _cut(states: Bytes | None, low: int, high: int) -> Bytes | None:
    return None if states is None else states[low:high]


def _with_gaps(found: list[Value], states: Bytes | None, at: Integers) -> list[Value]:
    if states is not None:
        own = states[at]
        for place in np.flatnonzero(own).tolist():
            found[place] = ABSENT if own[place] == LACKING else None
    return found
