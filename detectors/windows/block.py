"""Blocks: rows of one model as columns, so that a window costs a few array operations and not an operation per value.

Rules:
1. A block holds the same values as its rows. How the log was fetched decides which rows share a block, so no result
   may depend on that.
2. A feature that a row does not have is `ABSENT`; a feature without a value is None. Both count as missing. But a
   feature that every row of a window lacks is not in that window.
3. Columns of numbers form a matrix, with NaN for missing values. Columns of few different values form another matrix,
   of indices into the list of these values. All other columns are lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.windows.feature import CATEGORY_LENGTH, doubles
from detectors.windows.row import Row, Value

#: Value of a feature that a row does not have. It is a NaN, so that arrays count it as missing; compare it with `is`.
ABSENT = float("nan")

#: A block is sparse, and is cut into smaller blocks, if it has more cells than 8 times its values plus 4,096.
_CELLS_OF_A_VALUE, _FEW_CELLS = 8, 4096


_NUMBERS = {float, int, type(None)}


@dataclass(frozen=True, slots=True)
class Coded:
    """Columns of few different values.

    Args:
        names: of the columns.
        values: of each column, short texts or False and True.
        codes: indices into `values`, shape (len(names), n), NaN where missing.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str | bool, ...], ...]
    codes: Floats


@dataclass(frozen=True, slots=True)
class Columns:
    """The features of a block's rows.

    Args:
        names: of the columns of numbers.
        numbers: shape (len(names), n), NaN where missing.
        coded: columns of few different values.
        texts: name -> short texts, None or `ABSENT` where a text is missing.
        others: name -> values of any type, `ABSENT` where a row does not have the feature.
        absent: name -> whether each row lacks the feature, shape (n,); only features that a row lacks have an entry.
    """

    names: tuple[str, ...]
    numbers: Floats
    coded: Coded
    texts: Mapping[str, Sequence[Value]]
    others: Mapping[str, Sequence[Value]]
    absent: Mapping[str, Flags]

    def beside(self, more: Columns) -> Columns:
        """Return the columns of both; they have no name in common."""
        return Columns(
            self.names + more.names,
            np.concatenate([self.numbers, more.numbers]),
            Coded(
                self.coded.names + more.coded.names,
                self.coded.values + more.coded.values,
                np.concatenate([self.coded.codes, more.coded.codes]),
            ),
            {**self.texts, **more.texts},
            {**self.others, **more.others},
            {**self.absent, **more.absent},
        )

    def rows_at(self, order: Integers) -> Columns:
        """Return the rows at these indices, in this order."""
        pick = picker(order)
        return Columns(
            self.names,
            self.numbers[:, order],
            Coded(self.coded.names, self.coded.values, self.coded.codes[:, order]),
            {name: pick(column) for name, column in self.texts.items()},
            {name: pick(column) for name, column in self.others.items()},
            {name: flags[order] for name, flags in self.absent.items()},
        )

    def cut(self, low: int, high: int) -> Columns:
        """Return the rows `low` to `high` (not included), as copies: they keep no larger block in memory."""
        return Columns(
            self.names,
            self.numbers[:, low:high].copy(),
            Coded(self.coded.names, self.coded.values, self.coded.codes[:, low:high].copy()),
            {name: column[low:high] for name, column in self.texts.items()},
            {name: column[low:high] for name, column in self.others.items()},
            {name: flags[low:high].copy() for name, flags in self.absent.items()},
        )

    def sizes(self) -> Integers:
        """Return how many features each row has, shape (n,)."""
        features = len(self.names) + len(self.coded.names) + len(self.texts) + len(self.others)
        sizes = np.full(self.numbers.shape[1], features, dtype=np.int64)
        for flags in self.absent.values():
            sizes -= flags
        return sizes

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a column of that name."""
        return name in self.names or name in self.coded.names or name in self.texts or name in self.others


def picker(order: Integers) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return a function that returns the values of a list at these indices."""
    indices = order.tolist()
    return itemgetter(*indices) if len(indices) > 1 else lambda column: [column[index] for index in indices]


class Block:
    """Rows of one model of one source partition, in offset order.

    Args:
        model: name of the model.
        offsets: shape (n,), ascending.
        ts: event time, epoch seconds, shape (n,).
        segments: of the rows; None when all are "".
        ticks: whether each row is a tick, which only moves event time, shape (n,); None without ticks.
        columns: the features.
        share: part of all rows that each row stands for, where rows are a sample, shape (n,); None where they are not.
    """

    __slots__ = ("columns", "model", "offsets", "segments", "share", "sizes", "ticks", "ts")

    def __init__(
        self,
        model: str,
        *,
        offsets: Integers,
        ts: Floats,
        segments: Sequence[str] | None,
        ticks: Flags | None,
        columns: Columns,
        sizes: Integers | None = None,
        share: Floats | None = None,
    ) -> None:
        self.model = model
        self.offsets = offsets
        self.ts = ts
        self.segments = segments
        self.ticks = ticks
        self.columns = columns
        self.share = share
        #: Features that each row has, shape (n,).
        self.sizes = columns.sizes() if sizes is None else sizes

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets)

    def rows_at(self, order: Integers) -> Block:
        """Return the rows at these indices, in this order."""
        return Block(
            self.model,
            offsets=self.offsets[order],
            ts=self.ts[order],
            segments=None if self.segments is None else picker(order)(self.segments),
            ticks=None if self.ticks is None else self.ticks[order],
            columns=self.columns.rows_at(order),
            sizes=self.sizes[order],
            share=None if self.share is None else self.share[order],
        )

    def cut(self, low: int, high: int) -> Block:
        """Return the rows `low` to `high` (not included), as copies: they keep no larger block in memory."""
        return Block(
            self.model,
            offsets=self.offsets[low:high].copy(),
            ts=self.ts[low:high].copy(),
            segments=None if self.segments is None else self.segments[low:high],
            ticks=None if self.ticks is None else self.ticks[low:high].copy(),
            columns=self.columns.cut(low, high),
            sizes=self.sizes[low:high].copy(),
            share=None if self.share is None else self.share[low:high].copy(),
        )

    def by_segment(self) -> dict[str, Integers]:
        """Return segment -> indices of its rows, without ticks."""
        indices = np.arange(len(self)) if self.ticks is None else np.flatnonzero(~self.ticks)
        if self.segments is None:
            return {"": indices}
        segments: dict[str, list[int]] = {}
        for index in indices.tolist():
            segments.setdefault(self.segments[index], []).append(index)
        return {segment: np.array(of_segment) for segment, of_segment in segments.items()}

    def numbers_of(self, name: str) -> Floats | None:
        """Return a feature's numbers, shape (n,), NaN in rows without a number; None if the feature has no numbers."""
        columns = self.columns
        if name in columns.others:
            kinds = (float, int)
            return doubles([value if type(value) in kinds else None for value in columns.others[name]])
        return columns.numbers[columns.names.index(name)] if name in columns.names else None

    def row(self, index: int) -> Row:
        """Return the row at an index; its numbers are doubles."""
        columns = self.columns
        values: dict[str, Value] = {}
        for name, number in zip(columns.names, columns.numbers[:, index].tolist(), strict=True):
            flags = columns.absent.get(name)
            if flags is None or not flags[index]:
                values[name] = None if math.isnan(number) else number
        for name, words, code in zip(
            columns.coded.names, columns.coded.values, columns.coded.codes[:, index].tolist(), strict=True
        ):
            flags = columns.absent.get(name)
            if flags is None or not flags[index]:
                values[name] = None if math.isnan(code) else words[int(code)]
        lists = {**columns.texts, **columns.others}
        values |= {name: column[index] for name, column in lists.items() if column[index] is not ABSENT}
        ts, segment = float(self.ts[index]), "" if self.segments is None else self.segments[index]
        return Row(int(self.offsets[index]), self.model, ts, segment, values)

    def since(self, offset: int) -> Block | None:
        """Return the rows from an offset on; None if there are none."""
        first = int(np.searchsorted(self.offsets, offset))
        if first == 0:
            return self
        return self.cut(first, len(self)) if first < len(self) else None


def blocks_of(rows: Iterable[Row]) -> list[Block]:
    """Return rows, which come in offset order, as blocks; a block has rows of one model, and blocks of a model are in order."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    return [_block(model, stretch) for model, of_model in by_model.items() for stretch in _dense(of_model)]


def _dense(rows: list[Row]) -> Iterator[list[Row]]:
    """Yield the rows in stretches that are not sparse: or names that never come again would cost rows times names."""
    stretch: list[Row] = []
    names: set[str] = set()
    values = 0
    for row in rows:
        own = row.values or {}
        if stretch and is_sparse(len(names | own.keys()) * (len(stretch) + 1), values + len(own)):
            yield stretch
            stretch, names, values = [], set(), 0
        stretch.append(row)
        names |= own.keys()
        values += len(own)
    if stretch:
        yield stretch


def is_sparse(cells: int, values: int) -> bool:
    """Return whether a block has so few values for its cells that smaller blocks would take far less memory."""
    return cells > _CELLS_OF_A_VALUE * values + _FEW_CELLS


def _block(model: str, rows: list[Row]) -> Block:
    segments = [row.segment for row in rows]
    ticks = np.array([row.values is None for row in rows])
    values = [row.values or {} for row in rows]
    return Block(
        model,
        offsets=np.array([row.offset for row in rows], dtype=np.int64),
        ts=np.array([row.ts for row in rows], dtype=np.float64),
        segments=segments if any(segments) else None,
        ticks=ticks if ticks.any() else None,
        columns=columns(named_columns(values), len(rows)),
    )


def named_columns(rows: Sequence[Mapping[str, Value]]) -> Iterator[tuple[str, list[Value]]]:
    """Yield each name in the rows with its values, `ABSENT` in rows that lack it."""
    for name in dict.fromkeys(name for values in rows for name in values):
        yield name, [values.get(name, ABSENT) for values in rows]


def columns(named: Iterable[tuple[str, Sequence[Value]]], rows: int) -> Columns:
    """Return columns from values of any types; each column has `rows` values."""
    names: list[str] = []
    numbers: list[Floats] = []
    others: dict[str, Sequence[Value]] = {}
    absent: dict[str, Flags] = {}
    for name, column in named:
        kinds = set(map(type, column))
        if not kinds <= _NUMBERS:
            # A window keeps no more of a text, so the rest of it need not stay in memory until then.
            others[name] = [value[:CATEGORY_LENGTH] if isinstance(value, str) else value for value in column]
            if float in kinds and any(lacking := [value is ABSENT for value in column]):
                absent[name] = np.array(lacking)
            continue
        values = doubles(list(column))
        values[np.isinf(values)] = np.nan  # JSON has no infinity; another front end may pass it, and it counts as missing
        names.append(name)
        numbers.append(values)
        if np.isnan(values).any():
            flags = np.fromiter((value is ABSENT for value in column), bool, rows)
            if flags.any():
                absent[name] = flags
    nothing = np.empty((0, rows))
    return Columns(tuple(names), np.array(numbers) if numbers else nothing, Coded((), (), nothing), {}, others, absent)
