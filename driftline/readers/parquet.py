"""Parquet -> stretches, by pyarrow: an optional dependency, because it is larger than SciPy and only Parquet needs it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from detectors.arrays import Floats
from detectors.errors import ConfigError
from detectors.windows.block import Columns, columns
from detectors.windows.row import Value
from driftline.readers.opened import Opened
from driftline.readers.roles import Roles
from driftline.readers.rows import Table, matrix, stretch_of
from driftline.readers.stretch import Stretch

#: Rows of one stretch.
ROWS = 32_768
_MICROSECONDS = 1e6


def read_parquet(file: Opened, roles: Roles, *, rows: int = ROWS) -> Iterator[Stretch]:
    """Yield the rows of a Parquet file.

    Raises:
        ConfigError: pyarrow is not installed, the file is no Parquet, or it lacks a column that was named.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 - an extra, without types
        import pyarrow.parquet as pq  # type: ignore[import-untyped] # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError(
            f"{file.name}: Parquet needs pyarrow, which is not installed: pip install 'driftline[parquet]'"
        ) from None
    try:
        # One row group at a time: with pre_buffer pyarrow would read the whole file at once.
        source = pq.ParquetFile(file.stream, pre_buffer=False)
        schema = source.schema_arrow
        features = roles.features(schema.names, file.name)
        table = _ParquetReader(roles, pa, {name: schema.field(name).type for name in features}, file.name)
        wanted = [*features, *dict.fromkeys(roles.taken().values())]
        offset = 0
        for batch in source.iter_batches(batch_size=rows, columns=wanted, use_threads=False):
            yield table.stretch(batch, offset)
            offset += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{file.name}: not a Parquet file, or a damaged one: {' '.join(str(error).split())[:200]}") from None


class _ParquetReader:
    """Batches of columns -> stretches."""

    def __init__(self, roles: Roles, arrow: Any, features: dict[str, Any], file: str) -> None:
        self._roles = roles
        self._arrow = arrow
        self._features = features
        types = arrow.types
        for name, kind in features.items():
            if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
                raise ConfigError(f"{file}: column {name} is of type {kind}: leave it out with --ignore, or flatten it")

    def stretch(self, batch: Any, offset: int) -> Stretch:
        """Return a batch as a stretch; lines are rows of the file."""
        roles = self._roles

        def of(column: str | None) -> list[Value] | None:
            return None if column is None else self._values(batch.column(column))

        def line_of(place: int) -> int:
            return offset + place + 1

        table = Table(
            offset=offset,
            line_of=line_of,
            columns=self._columns(batch),
            times=self._times(batch.column(roles.time or "")),
            segments=of(roles.segment),
            predictions=of(roles.prediction),
            labels=of(roles.label),
        )
        return stretch_of(roles, table)

    def _columns(self, batch: Any) -> Columns:
        names: list[str] = []
        arrays: list[Floats] = []
        others: list[tuple[str, list[Value]]] = []
        for name, kind in self._features.items():
            column = batch.column(name)
            if name in self._roles.model.categorical:
                others.append((name, [str(v) if type(v) in (int, float) else v for v in self._values(column)]))
            elif self._is_number(kind):
                names.append(name)
                arrays.append(self._numbers(column))
            else:
                others.append((name, self._values(column)))
        n = batch.num_rows
        plain = matrix(names, arrays, n)
        return plain.beside(columns(others, n)) if others else plain

    def _is_number(self, kind: Any) -> bool:
        types = self._arrow.types
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))

    def _numbers(self, column: Any) -> Floats:
        # A copy: arrow's array may be read-only, and keeps the memory of the whole batch.
        found = np.array(column.cast(self._arrow.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
        found[np.isinf(found)] = np.nan
        return found

    def _values(self, column: Any) -> list[Value]:
        """Return the values as in an event; NaN and infinities are missing, times are text."""
        types = self._arrow.types
        kind = column.type
        if types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if types.is_decimal(kind) or types.is_float16(kind):
            column = column.cast(self._arrow.float64(), safe=False)
        elif not (self._is_number(kind) or types.is_boolean(kind) or types.is_null(kind) or _is_text(types, kind)):
            column = column.cast(self._arrow.string())
        found: list[Any] = column.to_pylist()
        return (
            [value if value is None or math.isfinite(value) else None for value in found]
            if types.is_floating(column.type)
            else found
        )

    def _times(self, column: Any) -> list[Value]:
        types = self._arrow.types
        if types.is_date(column.type):
            column = column.cast(self._arrow.timestamp("ms"))
        if not types.is_timestamp(column.type):
            return self._values(column)
        # Digits beyond microseconds are dropped, as those of an RFC 3339 time are.
        whole = column.cast(self._arrow.timestamp("us", tz=column.type.tz), safe=False).cast(self._arrow.int64())
        return [None if value is None else value / _MICROSECONDS for value in whole.to_pylist()]


def _is_text(types: Any, kind: Any) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))
