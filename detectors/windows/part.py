"""Parts: rows of blocks that are in one window -> a `Column` for each feature.

Rules:
1. A window's rows come in parts, as the log was fetched; the columns depend on the rows alone.
2. Columns of numbers without missing values are summarised together, one operation for all features; so are columns
   of few different values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from detectors.arrays import Floats, Integers
from detectors.windows.block import ABSENT, Block, Coded
from detectors.windows.feature import Column, category_of, column_of
from detectors.windows.row import Value
from detectors.windows.sample import summarise, summarise_rows


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `low` to `high` of a block, which are in one window."""

    block: Block
    low: int
    high: int

    def alone(self) -> Part:
        """Return the same rows as a copy, if they are less than half of their block: the rest of the block can then be freed."""
        if 2 * (self.high - self.low) >= len(self.block):
            return self
        return Part(self.block.cut(self.low, self.high), 0, self.high - self.low)

    def has(self, name: str) -> Integers:
        """Return the indices, in the block, of the rows that have the feature."""
        indices = np.arange(self.low, self.high)
        columns = self.block.columns
        if name in columns:
            flags = columns.absent.get(name)
            return indices if flags is None else indices[~flags[self.low : self.high]]
        return indices[:0]


def columns_of(parts: Sequence[Part]) -> dict[str, Column]:
    """Return feature -> its values in the rows of all parts; a feature that no row has is left out."""
    others, texts = _others(parts), _texts(parts)
    found, left = _summarised(parts, {*others, *texts})
    for name in [name for name in {**left, **texts, **others} if name not in found]:
        present = left.get(name, np.empty(0))
        if name in others:
            column = column_of([*others[name], *present.tolist()])
        else:
            column = Column(summarise(present)) if len(present) else Column()
        if name in texts:
            column = Column(column.numeric, Counter(column.counts) + texts[name] if column.counts else texts[name])
        if column != Column() or any(len(part.has(name)) for part in parts):
            found[name] = column
    return found


def _summarised(parts: Sequence[Part], mixed: set[str]) -> tuple[dict[str, Column], dict[str, Floats]]:
    """Return (columns of numbers without missing values, name -> numbers of all other columns, NaN left out).

    Columns named in `mixed` also have values of other types, so they are always in the second mapping.
    """
    names = parts[0].block.columns.names
    left: dict[str, Floats] = {}
    if any(part.block.columns.names != names for part in parts):
        # Feature by feature: a matrix for all names would be mostly NaN.
        cells: dict[str, list[Floats]] = {}
        for part in parts:
            for row, name in enumerate(part.block.columns.names):
                cells.setdefault(name, []).append(part.block.columns.numbers[row, part.low : part.high])
        for name, values in cells.items():
            every = np.concatenate(values)
            left[name] = every[~np.isnan(every)]
        return {}, left
    numbers = np.concatenate([part.block.columns.numbers[:, part.low : part.high] for part in parts], axis=1)
    with_nan = _rows_with_nan(numbers)
    # Columns without NaN are summarised together; the sum of a row does not depend on its neighbours.
    plain = [row for row, name in enumerate(names) if not with_nan[row] and name not in mixed]
    found: dict[str, Column] = {}
    if plain:
        whole = numbers if len(plain) == len(names) else numbers[plain]
        found = {names[row]: Column(numeric) for row, numeric in zip(plain, summarise_rows(whole), strict=True)}
    for row, name in enumerate(names):
        if name not in found:
            left[name] = numbers[row][~np.isnan(numbers[row])]
    return found, left


def _texts(parts: Sequence[Part]) -> dict[str, Counter[str]]:
    """Return feature -> count of each category, for columns of texts and of few different values, over all parts."""
    texts: dict[str, Counter[Value]] = {}
    coded: dict[tuple[int, int], list[tuple[Coded, Floats]]] = {}
    for part in parts:
        columns = part.block.columns
        for name, column in columns.texts.items():
            texts.setdefault(name, Counter()).update(column[part.low : part.high])
        if columns.coded.names:
            # Blocks that were read with one type share the same lists, so they are counted together.
            same = (id(columns.coded.names), id(columns.coded.values))
            coded.setdefault(same, []).append((columns.coded, columns.coded.codes[:, part.low : part.high]))
    found = {name: Counter({text: n for text, n in counts.items() if isinstance(text, str)}) for name, counts in texts.items()}
    for pieces in coded.values():
        first = pieces[0][0]
        codes = pieces[0][1] if len(pieces) == 1 else np.concatenate([codes for _, codes in pieces], axis=1)
        for name, counts in zip(first.names, _counted(first.values, codes), strict=True):
            found.setdefault(name, Counter()).update(counts)
    return found


def _counted(values: Sequence[Sequence[str | bool]], codes: Floats) -> Iterator[dict[str, int]]:
    """Yield category -> count for each column of codes; categories that do not occur are left out."""
    ends = np.cumsum([0, *map(len, values)])
    shifted = (codes + ends[:-1, np.newaxis]).ravel()  # no two columns share a code, so one count serves all
    counts = np.bincount(shifted[~np.isnan(shifted)].astype(np.intp), minlength=int(ends[-1])).tolist()
    for words, (low, high) in zip(values, pairwise(ends.tolist()), strict=True):
        yield {category_of(value): count for value, count in zip(words, counts[low:high], strict=True) if count}


def _rows_with_nan(numbers: Floats) -> list[bool]:
    """Return whether each row has a NaN."""
    return [bool(np.isnan(row).any()) for row in numbers]


def _others(parts: Sequence[Part]) -> dict[str, list[Value]]:
    """Return feature -> values of any types over all parts; rows that lack the feature are left out."""
    others: dict[str, list[Value]] = {}
    for part in parts:
        columns = part.block.columns
        for name, column in columns.others.items():
            values = column[part.low : part.high]
            if name in columns.absent:
                values = [value for value in values if value is not ABSENT]
            others.setdefault(name, []).extend(values)
    return others
