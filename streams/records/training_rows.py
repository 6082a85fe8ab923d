"""Training rows on the topic `rows`: the features of predictions that have an id, as columns in MessagePack.

Rules:
1. A record holds predictions of one model in one partition of events, in order of their offsets:
   `[1, model, first offset, offset after the last, rows, columns, bytes, packed]`. `packed` is a zstd frame of that
   many bytes. A column is `[name, kind, gaps, digits, words, bytes]`.
2. In the frame stand the differences of the offsets, then each column. Numbers stand in planes: the first bytes of all
   values, then the second bytes, and so on. If all numbers of a column are decimals of few digits, it holds them as
   integers of 32 bits, times 10 to the power of `digits`. Words stand as indices of a byte, other values as a list in
   MessagePack. A column with gaps has a byte for each row before that: 0 for a value, 1 for null, 2 for absent.
3. What is read is what the event said, value and type: 3 stays an integer and 3.0 a double, -0.0 keeps its sign, texts
   keep their length, integers of 64 bits keep all digits, null differs from absent.
4. A record is at most `MOST_BYTES` long and has at most `MOST_ROWS` rows.
5. A reader believes nothing: counts and lengths are checked before memory is taken for them.

Bytes a row on the disk of the broker, with 20 features and 3,000 rows a record: 33 for two decimals, 147 for full doubles, 22 if
half of them are words of eight. The producer's lz4 finds nothing more in it. If the broker compressed plain columns with
zstd, they would take 46, 153 and 31, and its CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import cramjam
import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Flags, Floats, Integers
from detectors.errors import EventError
from detectors.windows.block import ABSENT
from detectors.windows.row import Value
from streams.records.feature_columns import (
    GREATEST_EXACT,
    LACKING,
    MOST_WORDS,
    NULL,
    Bytes,
    Cells,
    FeatureRows,
    ListCells,
    NumberCells,
    Word,
    WordCells,
)

MOST_ROWS = 10_000
MOST_BYTES = 900_000
#: Largest content of a frame, in bytes.
_MOST_UNPACKED = 16 << 20
#: Offsets are below this.
_OFFSETS_END = (1 << 63) - 1
#: Kinds of columns: doubles; integers; doubles and integers, with a bit for each row; words; a list.
_DOUBLES, _WHOLE, _BOTH, _WORDS, _LIST = range(5)
#: Most digits behind the point of a column of decimals, and how many of its numbers are tried first.
_MOST_DIGITS, _TRIED = 6, 16
_NO_DIGITS = -1
#: Stands for -0.0 among decimals.
_MINUS_ZERO = -(1 << 31)
_LEVEL = 1

_Count = Annotated[int, msgspec.Meta(ge=0, le=_OFFSETS_END)]


class _Column(msgspec.Struct, array_like=True, frozen=True, gc=False):
    name: str
    kind: Annotated[int, msgspec.Meta(ge=_DOUBLES, le=_LIST)]
    gaps: bool
    digits: Annotated[int, msgspec.Meta(ge=_NO_DIGITS, le=_MOST_DIGITS)]
    words: Annotated[list[Word], msgspec.Meta(max_length=MOST_WORDS)]
    size: Annotated[int, msgspec.Meta(ge=0, le=_MOST_UNPACKED)]


class _RowsRecord(msgspec.Struct, array_like=True, frozen=True):
    v: int
    model: str
    first: _Count
    end: _Count
    rows: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)]
    columns: Annotated[list[_Column], msgspec.Meta(max_length=1 << 18)]
    size: Annotated[int, msgspec.Meta(ge=1, le=_MOST_UNPACKED)]
    packed: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_RowsRecord)
_list_decoder = msgspec.msgpack.Decoder(Annotated[list[Value], msgspec.Meta(max_length=MOST_ROWS)])


def encode(rows: FeatureRows) -> list[bytes]:
    """Return rows, at least one, as records, in order of their offsets.

    Raises:
        OverflowError: a value is an integer of more than 64 bits; no event has one.
    """
    return [record for low in range(0, len(rows), MOST_ROWS) for record in _records(rows.cut(low, low + MOST_ROWS))]


def _records(rows: FeatureRows) -> Iterator[bytes]:
    record = _encoded(rows)
    if (record is None or len(record) > MOST_BYTES) and len(rows) > 1:
        middle = len(rows) // 2
        yield from _records(rows.cut(0, middle))
        yield from _records(rows.cut(middle, len(rows)))
    elif record is not None:
        yield record


def _encoded(rows: FeatureRows) -> bytes | None:
    """Return a record, None if it would be too large."""
    first, end = int(rows.offsets[0]), int(rows.offsets[-1]) + 1
    pieces = [_planes(np.diff(rows.offsets, prepend=first))]
    columns: list[_Column] = []
    numbers = iter(_numbers([cells.numbers for _, cells in sorted(rows.columns.items()) if isinstance(cells, NumberCells)]))
    for name, cells in sorted(rows.columns.items()):
        column, content = _number_column(name, cells, *next(numbers)) if isinstance(cells, NumberCells) else _column(name, cells)
        columns.append(column)
        pieces += content
    size = sum(map(len, pieces))
    if size > _MOST_UNPACKED:
        return None
    packed = bytes(cramjam.zstd.compress(b"".join(pieces), level=_LEVEL))
    return _encoder.encode(_RowsRecord(1, rows.model, first, end, len(rows), columns, size, packed))


def _column(name: str, cells: WordCells | ListCells) -> tuple[_Column, list[bytes]]:
    """Return a column of words or a list, and what stands in the frame for it."""
    if isinstance(cells, WordCells):
        column = _Column(name, _WORDS, cells.states is not None, _NO_DIGITS, list(cells.words), len(cells))
        return column, [*_gaps(cells.states), cells.codes.tobytes()]
    given = [value for value in cells.cells if value is not None and value is not ABSENT]
    content = _encoder.encode(given)
    gaps = len(given) < len(cells)
    column = _Column(name, _LIST, gaps, _NO_DIGITS, [], len(content))
    return column, [*_gaps(_list_states(cells) if gaps else None), content]


def _number_column(name: str, cells: NumberCells, digits: int, content: bytes) -> tuple[_Column, list[bytes]]:
    """Return a column of numbers, and what stands in the frame for it; `content` are its numbers."""
    kind, bits = _WHOLE if cells.integers is True else _DOUBLES, b""
    if not isinstance(cells.integers, bool):
        kind, bits = _BOTH, np.packbits(cells.integers).tobytes()
    column = _Column(name, kind, cells.states is not None, digits, [], len(content) + len(bits))
    return column, [*_gaps(cells.states), content, bits]


def _gaps(states: Bytes | None) -> list[bytes]:
    return [] if states is None else [states.tobytes()]


def _list_states(cells: ListCells) -> Bytes:
    states = (LACKING if value is ABSENT else NULL if value is None else 0 for value in cells.cells)
    return np.fromiter(states, np.uint8, len(cells))


def _numbers(columns: list[Floats]) -> list[tuple[int, bytes]]:
    """Return (digits, bytes) of each column of numbers; all columns at once, because few rows are as dear as many."""
    if not columns:
        return []
    matrix = np.array(columns)
    found: dict[int, tuple[int, bytes]] = {}
    for digits in range(_MOST_DIGITS + 1):
        left = np.array([place for place in range(len(matrix)) if place not in found], dtype=np.int64)
        left = left[_decimals(matrix[left, :_TRIED], digits)[1]]
        if len(left):
            whole, exact = _decimals(matrix[left], digits)
            found |= {place: (digits, _planes(whole[row])) for row, place in enumerate(left.tolist()) if exact[row]}
    return [found.get(place) or (_NO_DIGITS, _planes(row)) for place, row in enumerate(matrix)]


def _decimals(matrix: Floats, digits: int) -> tuple[Any, Flags]:
    """Return (numbers times 10 to the power of `digits` as integers of 32 bits, whether a row comes back to the bit)."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(matrix * 10.0**digits)
        small = (np.abs(scaled) < -_MINUS_ZERO).all(axis=1)
        scaled[(scaled == 0) & np.signbit(scaled)] = _MINUS_ZERO
        whole = scaled.astype(np.int32)
    return whole, small & (_doubles(whole, digits).view(np.int64) == matrix.view(np.int64)).all(axis=1)


def _doubles(whole: Any, digits: int) -> Any:
    """Return the numbers that `_decimals` gave."""
    numbers = whole / 10.0**digits
    numbers[whole == _MINUS_ZERO] = -0.0
    return numbers


def _planes(values: NDArray[Any]) -> bytes:
    """Return the first bytes of all values, then the second bytes and so on."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1).T.tobytes()


# -- reading ----------------------------------------------------------------------------------------


def parse(value: bytes | None) -> FeatureRows:
    """Return the rows in a record.

    Raises:
        EventError: it is no such record, or one that does not hold what it says.
    """
    try:
        record = _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong("", f"expected training rows, got {error}") from None
    if record.v != 1:
        raise _wrong("v", f"this Driftline reads version 1, got {record.v}")
    content = _unpacked(record)
    columns: dict[str, Cells] = {}
    at = 8 * record.rows
    for column in record.columns:
        end = at + column.size + (record.rows if column.gaps else 0)
        if column.name in columns:
            raise _wrong(column.name, "expected each name once")
        columns[column.name] = _cells(column, content[at:end], record.rows)
        at = end
    return FeatureRows(record.model, _offsets(record, content[: 8 * record.rows]), columns)


def _wrong(path: str, detail: str) -> EventError:
    return EventError("not_training_rows", path[:64], detail)


def _unpacked(record: _RowsRecord) -> memoryview:
    """Return the content of the frame, which has exactly the length that the columns say."""
    for column in record.columns:
        _check_size(column, record.rows)
    size = 8 * record.rows + sum(column.size + (record.rows if column.gaps else 0) for column in record.columns)
    if size != record.size:
        raise _wrong("bytes", f"the columns take {size} bytes, the record says {record.size}")
    content = bytearray(size)
    try:
        found = cramjam.zstd.decompress_into(record.packed, content)
    except cramjam.DecompressionError as error:
        raise _wrong("packed", f"no zstd frame of {size} bytes: {error}") from None
    if found != size:
        raise _wrong("packed", f"expected {size} bytes in the frame, got {found}")
    return memoryview(content)


def _check_size(column: _Column, rows: int) -> None:
    if column.kind == _LIST:
        return
    expected = rows if column.kind == _WORDS else _number_bytes(column) * rows + ((rows + 7) // 8 if column.kind == _BOTH else 0)
    if column.size != expected:
        raise _wrong(column.name, f"expected {expected} bytes of {rows} rows, got {column.size}")


def _number_bytes(column: _Column) -> int:
    return 8 if column.digits == _NO_DIGITS else 4


def _offsets(record: _RowsRecord, content: memoryview) -> Integers:
    steps = _unplaned(content, np.dtype(np.int64)).tolist()
    if steps[0] != 0 or min(steps[1:], default=1) < 1 or record.first + sum(steps) + 1 != record.end or record.end > _OFFSETS_END:
        raise _wrong("offsets", f"expected offsets that grow from {record.first} to {record.end - 1}")
    return np.cumsum(np.array([record.first, *steps[1:]], dtype=np.int64))


def _cells(column: _Column, content: memoryview, rows: int) -> Cells:
    states = None
    if column.gaps:
        states, content = np.frombuffer(content[:rows], np.uint8), content[rows:]
        if states.max() > LACKING:
            raise _wrong(column.name, f"expected 0, 1 or 2 for each row, got {states.max()}")
    if column.kind == _LIST:
        return _list(column.name, content, states, rows)
    if column.kind == _WORDS:
        codes = np.frombuffer(content, np.uint8)
        if codes.max() >= len(column.words):
            raise _wrong(column.name, f"word {codes.max()} of {len(column.words)}")
        return WordCells(tuple(column.words), codes, states)
    split = _number_bytes(column) * rows
    if column.digits == _NO_DIGITS:
        numbers = _unplaned(content[:split], np.dtype(np.float64))
    else:
        numbers = _doubles(_unplaned(content[:split], np.dtype(np.int32)), column.digits)
    if column.kind == _DOUBLES:
        return NumberCells(numbers, False, states)
    if column.kind == _WHOLE:
        _check_whole(column.name, numbers)
        return NumberCells(numbers, True, states)
    integers = np.unpackbits(np.frombuffer(content[split:], np.uint8), count=rows).view(np.bool_)
    _check_whole(column.name, numbers[integers])
    return NumberCells(numbers, integers, states)


def _check_whole(name: str, numbers: Floats) -> None:
    with np.errstate(invalid="ignore"):
        if not ((np.abs(numbers) <= GREATEST_EXACT) & (np.rint(numbers) == numbers)).all():
            raise _wrong(name, "expected integers of at most 2**53")


def _list(name: str, content: memoryview, states: Bytes | None, rows: int) -> ListCells:
    try:
        given: list[Value] = _list_decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(name, f"expected a list of values, got {error}") from None
    expected = rows if states is None else rows - int(np.count_nonzero(states))
    if len(given) != expected:
        raise _wrong(name, f"expected {expected} values, got {len(given)}")
    if states is None:
        return ListCells(given)
    left = iter(given)
    return ListCells([next(left) if not state else ABSENT if state == LACKING else None for state in states.tolist()])


def _unplaned(content: memoryview, kind: np.dtype[Any]) -> Any:
    """Return the values that stand in planes."""
    return np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(kind.itemsize, -1).T).view(kind)[:, 0]
