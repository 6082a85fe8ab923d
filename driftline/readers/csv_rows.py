"""CSV -> stretches: rows by Python's csv module, cells by column.

Rules:
1. The first line names the columns. Blank lines are skipped.
2. A row with more or fewer cells than names is unusable, and so is one that is no CSV; reading goes on after it.
3. Bytes that are not UTF-8 become U+FFFD: one more category, and reading goes on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice
from typing import Any

from detectors.arrays import Floats
from detectors.errors import ConfigError
from detectors.windows.block import Columns, columns
from detectors.windows.row import Value
from driftline.readers import cells
from driftline.readers.opened import Opened
from driftline.readers.roles import Roles
from driftline.readers.rows import Table, matrix, stretch_of
from driftline.readers.stretch import RowFault, Stretch

#: Rows of one stretch: enough to read by columns, few enough to stay in the cache.
ROWS = 8192
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LINE_END = re.compile("\r\n|\r|\n")


def read_csv(file: Opened, roles: Roles, *, delimiter: str = ",", rows: int = ROWS) -> Iterator[Stretch]:
    """Yield the rows of a CSV file.

    Raises:
        ConfigError: the file has no header, or lacks a column that was named.
    """
    text = io.TextIOWrapper(file.stream, encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    names = _header(file, reader)
    table = _CsvReader(roles, names, roles.features(names, file.name))
    offset = 0
    while True:
        before = reader.line_num
        read: list[list[str]] = []
        faults: list[RowFault] = []
        try:
            # What was read before a row that is no CSV stays in the list.
            read.extend(islice(reader, rows))
        except csv.Error as error:
            faults.append(RowFault(reader.line_num, "not_csv", str(error)))
        if read or faults:
            stretch = table.stretch(read, before, offset, faults)
            offset += len(read)
            yield stretch
        elif len(read) < rows:
            text.detach()
            return


def _header(file: Opened, reader: Any) -> list[str]:
    try:
        found = next((row for row in reader if row), None)
    except csv.Error as error:
        raise ConfigError(f"{file.name}: line 1: not CSV: {error}") from None
    if found is None:
        raise ConfigError(f"{file.name}: empty: expected a first line with the names of the columns")
    names = [name.strip() for name in found]
    if any("\ufffd" in name or "\x00" in name for name in names):
        raise ConfigError(f"{file.name}: line 1: not UTF-8: save the file as CSV in UTF-8")
    return names


class _CsvReader:
    """Rows of cells -> stretches, for columns whose roles are known."""

    def __init__(self, roles: Roles, names: list[str], features: list[str]) -> None:
        self._roles = roles
        self._width = len(names)
        self._places = {name: place for place, name in enumerate(names)}
        self._features = features

    def stretch(self, read: list[list[str]], before: int, offset: int, faults: list[RowFault]) -> Stretch:
        """Return rows as a stretch; `before` is the line number before the first row, `offset` the index of that row."""
        line_of: Callable[[int], int] = _Lines(read, before)
        if set(map(len, read)) - {self._width}:
            places = [place for place, row in enumerate(read) if len(row) == self._width]
            faults += [
                RowFault(line_of(place), "wrong_width", f"expected {self._width} cells, as the first line has, got {len(row)}")
                for place, row in enumerate(read)
                if row and len(row) != self._width
            ]
            kept = [read[place] for place in places]
            lines = [line_of(place) for place in places]
            line_of = lines.__getitem__
        else:
            kept = read
        if not kept:
            return Stretch(len(faults), [], [], faults)
        columns_of_cells = list(zip(*kept, strict=True))
        found = Table(
            offset=offset,
            line_of=line_of,
            columns=self._columns(columns_of_cells),
            times=cells.times(self._cells(columns_of_cells, self._roles.time) or ()),
            segments=self._cells(columns_of_cells, self._roles.segment),
            predictions=_classes(self._cells(columns_of_cells, self._roles.prediction)),
            labels=_classes(self._cells(columns_of_cells, self._roles.label)),
        )
        return stretch_of(self._roles, found, faults)

    def _cells(self, columns_of_cells: list[tuple[str, ...]], column: str | None) -> tuple[str, ...] | None:
        return None if column is None else columns_of_cells[self._places[column]]

    def _columns(self, columns_of_cells: list[tuple[str, ...]]) -> Columns:
        names: list[str] = []
        arrays: list[Floats] = []
        others: list[tuple[str, list[Value]]] = []
        for name in self._features:
            column = columns_of_cells[self._places[name]]
            if name in self._roles.model.categorical:
                others.append((name, cells.categories(column)))
            elif (numbers := cells.numbers(column)) is not None:
                names.append(name)
                arrays.append(numbers)
            else:
                others.append((name, cells.values(column)))
        n = len(columns_of_cells[0])
        plain = matrix(names, arrays, n)
        return plain.beside(columns(others, n)) if others else plain


def _classes(column: Sequence[str] | None) -> list[Value] | None:
    return None if column is None else cells.classes(column)


class _Lines:
    """Index of a row -> its first line in the file; counted only on demand, because quoted cells may contain line ends."""

    def __init__(self, read: list[list[str]], before: int) -> None:
        self._read = read
        self._before = before

    @cached_property
    def _first(self) -> list[int]:
        inside = (1 + sum(len(_LINE_END.findall(cell)) for cell in row) for row in self._read)
        return list(accumulate(inside, initial=self._before + 1))

    def __call__(self, place: int) -> int:
        return self._first[place]
