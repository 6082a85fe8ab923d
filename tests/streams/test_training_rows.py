"""Training rows as bytes: what is read is what the events said, and a record that lies is refused."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from typing import Any

import cramjam
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import EventError
from detectors.windows.block import ABSENT
from detectors.windows.row import Value
from streams.records.feature_columns import FeatureRows, ListCells, joined, value_cells, word_cells
from streams.records.training_rows import MOST_BYTES, MOST_ROWS, encode, parse

pytestmark = pytest.mark.fast

_INTEGERS = st.one_of(
    st.integers(-5, 5), st.integers(-(1 << 63), (1 << 64) - 1), st.sampled_from((1 << 53, (1 << 53) + 1, -(1 << 53) - 1))
)
_DOUBLES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6).map(lambda n: n / 100), st.just(-0.0)
)
_TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(("", "a", "b")))
_KINDS: tuple[st.SearchStrategy[Any], ...] = (
    _DOUBLES,
    _INTEGERS,
    _TEXTS,
    st.booleans(),
    st.one_of(_DOUBLES, _INTEGERS),
    st.one_of(_DOUBLES, _INTEGERS, _TEXTS, st.booleans()),
    st.none(),
)
_COLUMN = st.sampled_from(_KINDS).flatmap(
    lambda kind: st.lists(st.one_of(kind, kind, kind, st.none(), st.just(ABSENT)), min_size=1, max_size=12)
)
_NAMES = st.one_of(st.text(min_size=1, max_size=4), st.sampled_from("abc"))
_PIECE = st.dictionaries(_NAMES, _COLUMN, max_size=6)


def rows_of(columns: dict[str, list[Value]], offsets: Sequence[int], *, words: bool = False) -> FeatureRows:
    """Return columns, cut to the number of offsets or filled up with what is absent, as rows."""
    n = len(offsets)
    filled = {name: [*column, *[ABSENT] * n][:n] for name, column in columns.items()}
    return FeatureRows("m", np.array(offsets), {name: cells_of(column, words=words) for name, column in filled.items()})


def cells_of(column: list[Value], *, words: bool) -> Any:
    """Return the cells of a column, as words if they are and `words` asks for it."""
    known = list(dict.fromkeys(value for value in column if isinstance(value, str)))
    if (
        not words
        or not known
        or any(value is not None and value is not ABSENT and not isinstance(value, str) for value in column)
    ):
        return value_cells(column)
    codes = np.array([known.index(value) if isinstance(value, str) else np.nan for value in column])
    return word_cells(tuple(known), codes, np.array([value is ABSENT for value in column]))


def told(columns: dict[str, list[Value]], n: int) -> list[dict[str, Value]]:
    """Return the rows that columns hold, names in order."""
    cells = {name: [*columns[name], *[ABSENT] * n][:n] for name in sorted(columns)}
    return [{name: column[place] for name, column in cells.items() if column[place] is not ABSENT} for place in range(n)]


def typed(rows: list[dict[str, Value]]) -> list[list[tuple[str, str, str]]]:
    """Return rows with the types of their values, which tell 1, 1.0 and True apart, and 0.0 from -0.0."""
    return [[(name, type(value).__name__, repr(value)) for name, value in row.items()] for row in rows]


def read(records: list[bytes]) -> tuple[list[int], list[dict[str, Value]]]:
    """Return (offsets, features) of records."""
    parsed = [parse(record) for record in records]
    offsets = [int(offset) for rows in parsed for offset in rows.offsets]
    return offsets, [one for rows in parsed for one in rows.features(np.arange(len(rows)))]


@effort(max_examples=300)
@given(
    st.lists(st.tuples(_PIECE, st.lists(st.integers(1, 1 << 58), min_size=1, max_size=9), st.booleans()), min_size=1, max_size=4)
)
def test_what_is_read_is_what_was_written(pieces: list[tuple[dict[str, list[Value]], list[int], bool]]) -> None:
    """Values and their types come back, null and absent apart, whatever pieces a record is joined from."""
    made, expected, offsets, last = [], [], [], -1
    for columns, steps, words in pieces:
        own = [last := last + step for step in steps]
        offsets += own
        made.append(rows_of(columns, own, words=words))
        expected += told(columns, len(own))
    found_offsets, found = read(encode(joined(made)))
    assert found_offsets == offsets
    assert typed(found) == typed(expected)


def test_rows_without_a_feature_are_rows() -> None:
    """A prediction that has no features is written and read as one that has none."""
    assert read(encode(rows_of({}, [3, 9]))) == ([3, 9], [{}, {}])


def test_many_names_and_many_rows_are_split_into_records_below_the_bounds() -> None:
    """However wide or long the rows are, no record is above the largest size or number of rows."""
    draw = np.random.default_rng(1)
    for width, n in ((3000, 200), (20, 25_000), (1, 12_000)):
        columns = {f"f{place}": draw.standard_normal(n).tolist() for place in range(width)}
        records = encode(rows_of(columns, range(n)))
        assert max(map(len, records)) <= MOST_BYTES
        assert max(len(parse(record)) for record in records) <= MOST_ROWS
        offsets, found = read(records)
        assert offsets == list(range(n))
        assert [row["f0"] for row in found] == columns["f0"]


def test_more_words_than_an_index_can_tell_become_a_list() -> None:
    """Words of pieces that together are too many for one byte are written one by one."""
    pieces = [rows_of({"w": [f"{k}-{n}" for n in range(200)]}, range(200 * k, 200 * (k + 1)), words=True) for k in range(2)]
    together = joined(pieces)
    assert isinstance(together.columns["w"], ListCells)
    assert [row["w"] for row in read(encode(together))[1]] == [f"{k}-{n}" for k in range(2) for n in range(200)]


@pytest.mark.parametrize(
    ("kind", "most"), [("two decimals", 46), ("full doubles", 153), ("half words", 32)], ids=["decimals", "doubles", "words"]
)
def test_a_row_of_twenty_features_takes_few_bytes(kind: str, most: int) -> None:
    """Bytes for each row stay below what compressed columns without planes took."""
    draw = np.random.default_rng(1)
    n = 3000
    numbers = draw.standard_normal((20, n))
    columns: dict[str, list[Value]] = {
        f"f{place}": row.tolist() for place, row in enumerate(numbers.round(2) if kind != "full doubles" else numbers)
    }
    if kind == "half words":
        columns |= {f"f{place}": [f"word {code}" for code in draw.integers(0, 8, n)] for place in range(10)}
    assert sum(map(len, encode(rows_of(columns, range(n), words=True)))) / n <= most


# -- records that lie ---------------------------------------------------------------------------------

_GOOD = encode(
    rows_of(
        {"d": [0.5, math.pi, None], "i": [1, 2, 3], "b": [1, 2.5, 3], "w": ["x", "y", "x"], "l": ["x", 1, True]},
        [5, 7, 8],
        words=True,
    )
)[0]


def changed(**fields: Any) -> bytes:
    """Return the good record with other fields."""
    names = ("v", "model", "first", "end", "rows", "columns", "size", "packed")
    record = dict(zip(names, msgspec.msgpack.decode(_GOOD), strict=True))
    return msgspec.msgpack.encode(list({**record, **fields}.values()))


def with_content(change: Any) -> bytes:
    """Return the good record with changed bytes in its frame."""
    content = bytearray(cramjam.zstd.decompress(msgspec.msgpack.decode(_GOOD)[7]))
    change(content)
    return changed(packed=bytes(cramjam.zstd.compress(bytes(content))))


def with_column(of: str, **fields: Any) -> bytes:
    """Return the good record with a changed column."""
    columns = msgspec.msgpack.decode(_GOOD)[5]
    names = ("name", "kind", "gaps", "digits", "words", "size")
    return changed(
        columns=[
            list({**dict(zip(names, column, strict=True)), **(fields if column[0] == of else {})}.values()) for column in columns
        ]
    )


@pytest.mark.parametrize(
    "record",
    [
        None,
        b"",
        b"garbage",
        b"\xdd\xff\xff\xff\xff",
        b"\x98\x01\xa1m\x00\x05\x05\xdd\xff\xff\xff\xff",
        changed(v=2),
        changed(model=3),
        changed(rows=0),
        changed(rows=MOST_ROWS + 1),
        changed(rows=4),
        changed(first=6),
        changed(end=10),
        changed(end=(1 << 64) - 1),
        changed(size=1 << 40),
        changed(size=100),
        changed(packed=b""),
        changed(packed=b"no frame"),
        changed(packed=bytes(cramjam.zstd.compress(b"\0" * 50_000_000))),
        changed(packed=bytes(cramjam.zstd.compress(b"\0" * 10))),
        with_column("i", name="d"),
        with_column("i", kind=0, size=1 << 40),
        with_column("i", kind=9),
        with_column("i", digits=7),
        with_column("i", digits=-1),
        with_column("w", words=[]),
        with_column("w", words=["x"] * 256),
        with_column("d", gaps=False),
        with_column("l", size=(16 << 20) - 1),
        with_content(lambda content: content.__setitem__(slice(0, 24), b"\xff" * 24)),
        with_content(lambda content: content.__setitem__(slice(0, 24), b"\0" * 24)),
        with_content(lambda content: content.__setitem__(slice(24, len(content)), b"\xff" * (len(content) - 24))),
    ],
)
def test_a_record_that_lies_is_refused(record: bytes | None) -> None:
    """Whatever counts, lengths and bytes a record gives, reading it ends in an error that says what is wrong."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EventError) as refused:
        parse(record)
    assert refused.value.reason == "not_training_rows"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@effort(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_record_with_any_byte_changed_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    """No change of bytes leads to any other error."""
    record = bytearray(_GOOD)
    for place, byte in changes:
        record[place] = byte
    try:
        rows = parse(bytes(record))
        rows.features(np.arange(len(rows)))
    except EventError as refused:
        reason = refused.reason
    else:
        reason = "not_training_rows"
    assert reason == "not_training_rows"


@effort(max_examples=300)
@given(st.data())
def test_content_with_any_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    """Bytes inside of the frame can be anything: the frame has no check of its own that an attacker could not write."""

    def change(content: bytearray) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        rows = parse(with_content(change))
        rows.features(np.arange(len(rows)))
    except EventError as refused:
        reason = refused.reason
    else:
        reason = "not_training_rows"
    assert reason == "not_training_rows"
