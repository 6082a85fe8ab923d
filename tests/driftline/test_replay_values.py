"""What stands in a file of rows or events: each value means one thing, in every format and in any company."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.spec import ModelSpec, OutcomeSpec
from driftline.config.load import parse_settings
from driftline.readers import cells
from driftline.readers.csv_rows import read_csv
from driftline.readers.json_lines import read_events, read_json_rows
from driftline.readers.opened import Opened, opened
from driftline.readers.pairs import FilePairs
from driftline.readers.parquet import read_parquet
from driftline.readers.roles import Roles
from driftline.readers.stretch import LabelCount, Stretch
from driftline.replay.replaying import Replaying
from streams.events.decoding import Decoding
from tests.support.replayed import BEGIN, CONFIG, csv_text

SETTINGS = parse_settings(CONFIG, "driftline.toml", {}, home=Path())
SPEC: ModelSpec = SETTINGS.models[0]
ROLES = Roles(SPEC, "t")


# -- any value ---------------------------------------------------------------------------------------


def windows_of(stretches: Iterator[Stretch]) -> list[dict[str, Any]]:
    """Return the windows of features of a whole file, decoded."""
    kept: list[bytes] = []
    replaying = Replaying({"fraud": SPEC}, keep=kept.append)
    for stretch in stretches:
        list(replaying.add(stretch))
    list(replaying.end())
    found = [msgspec.msgpack.decode(value) for value in kept]
    return [one for one in found if one["type"] == "window" and one["kind"] == "features"]


def numbers_in(feature: list[Any]) -> list[float]:
    """Return the numbers in a feature of a window."""
    return [] if feature[1] is None else list(memoryview(feature[1][5]).cast("d"))


def test_the_same_values_mean_the_same_in_every_format(tmp_path: Path) -> None:
    """Numbers, text, booleans, gaps, NaN and infinities are told apart in CSV, JSON Lines and Parquet alike."""
    columns: dict[str, list[Any]] = {
        "t": [60.0, 61.0, 62.0, 63.0],
        "number": [1.5, float("nan"), None, float("inf")],
        "text": ["a", None, "a", "b"],
        "truth": [True, None, False, True],
        "code": [7, 7, None, 42],
        "gone": [None, None, None, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    table = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "rows.csv").write_text(csv_text(table))
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in table))
    found = []
    for name, read in (("rows.csv", read_csv), ("rows.jsonl", read_json_rows), ("rows.parquet", read_parquet)):
        with opened(str(tmp_path / name)) as file:
            found.append(windows_of(read(file, ROLES)))
    assert found[0] == found[1] == found[2]
    ((features,),) = ([window["features"] for window in windows] for windows in found[:1])
    assert (numbers_in(features["number"]), features["number"][0]) == ([1.5], 3)
    assert features["text"][2] == {"a": 2, "b": 1}
    assert features["truth"][2] == {"true": 2, "false": 1}
    assert features["code"][2] == {"7": 2, "42": 1}
    assert features["gone"][0] == 4


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.timestamp("ns"), 1_795_132_800_250_000_000),
        (pa.timestamp("us", tz="Europe/Oslo"), 1_795_132_800_250_000),
        (pa.timestamp("ms", tz="UTC"), 1_795_132_800_250),
        (pa.int64(), 1_795_132_800_250),
        (pa.float64(), 1_795_132_800.25),
        (pa.string(), "2026-11-20T01:00:00.250+01:00"),
    ],
)
def test_every_kind_of_time_is_read(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    """Timestamps of any unit and zone, numbers and text mean the same moment."""
    pq.write_table(pa.table({"t": pa.array([value], kind), "x": [1.0]}), tmp_path / "rows.parquet")
    with opened(str(tmp_path / "rows.parquet")) as file:
        (stretch,) = read_parquet(file, ROLES)
    assert stretch.blocks[0].ts.tolist() == [BEGIN + 0.25]


@pytest.mark.parametrize("text", ["1795132800.25", "1795132800250", "2026-11-20T00:00:00.250Z", " 2026-11-20 00:00:00.25 "])
def test_every_text_of_a_time_is_read(tmp_path: Path, text: str) -> None:
    """Seconds, milliseconds and RFC 3339 mean the same moment."""
    (tmp_path / "rows.csv").write_text(f"t,x\n{text},1\n")
    with opened(str(tmp_path / "rows.csv")) as file:
        (stretch,) = read_csv(file, ROLES)
    assert stretch.blocks[0].ts.tolist() == [BEGIN + 0.25]


def test_a_time_may_lie_ahead_of_every_clock(tmp_path: Path) -> None:
    """A file has no broker whose clock an event could be ahead of."""
    (tmp_path / "events.jsonl").write_text('{"model": "fraud", "ts": "2999-01-01T00:00:00Z", "features": {"x": 1}}\n')
    with opened(str(tmp_path / "events.jsonl")) as file:
        (stretch,) = read_events(file, {"fraud": SPEC})
    assert stretch.faults == []
    assert stretch.blocks[0].ts.tolist() == [32_472_144_000.0]


_CELLS = st.one_of(
    st.sampled_from(
        ["", " ", "nan", "inf", "-inf", "null", "1_0", "1,2", "[1", "2]", "007", "+1", ".5", "1e400", "true", "0x1", "٣", '"']
    ),
    st.floats().map(repr),
    st.integers().map(str),
    st.text(max_size=5),
)


@given(st.lists(_CELLS, max_size=12))
def test_a_cell_means_the_same_in_any_company(column: list[str]) -> None:
    """Whether a column is read at once or cell by cell, each cell is the same number, text or nothing."""
    alone = [cells.values([cell])[0] for cell in column]
    assert repr(cells.values(column)) == repr(alone)
    numbers = cells.numbers(column)
    if any(isinstance(value, str) for value in alone):
        assert numbers is None
    else:
        assert numbers is not None
        assert [None if value != value else value for value in numbers.tolist()] == alone  # noqa: PLR0124 - NaN


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["x", "y", "code", "s", "p", "l"]),
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_no_value_raises(tmp_path_factory: pytest.TempPathFactory, table: list[dict[str, Any]], size: int) -> None:
    """Whatever scalar stands in a feature, segment, label or prediction, rows and events are replayed to their end."""
    directory = tmp_path_factory.mktemp("any")
    timed = [{"t": 60.0 + at, **row} for at, row in enumerate(table)]
    (directory / "rows.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in timed))
    text = "\n".join(
        [
            "t,x,y,code,s,p,l",
            *(",".join(_cell(row.get(name)) for name in ("t", "x", "y", "code", "s", "p", "l")) for row in timed),
        ]
    )
    (directory / "rows.csv").write_bytes(text.encode(errors="replace"))
    roles = Roles(SPEC, "t", "l", "p", "s")
    with opened(str(directory / "rows.jsonl")) as file:
        assert windows_of(read_json_rows(file, roles, lines=size))
    with opened(str(directory / "rows.csv")) as file:
        assert windows_of(read_csv(file, roles, rows=size))
    with opened(str(directory / "rows.jsonl")) as file:
        assert windows_of(read_events(file, {"fraud": SPEC}, lines=size)) == []


def _cell(value: Any) -> str:
    return "" if value is None else '"' + str(value).replace('"', '""') + '"'


# -- labels of events -----------------------------------------------------------------------------------

PAIRED = {"m": ModelSpec("m", outcomes=OutcomeSpec(label_within_seconds=100.0))}


def half(kind: str, at: float, *, identity: str = "a", value: Any = True) -> dict[str, Any]:
    """Return a prediction or label."""
    what: dict[str, Any] = {"label": value} if kind == "label" else {"prediction": value, "segment": "eu", "features": {}}
    return {"type": kind, "model": "m", "ts": at, "id": identity, **what}


def stretches(*log: dict[str, Any], lines: int) -> list[Stretch]:
    """Return a file of events, read so many lines at once."""
    file = Opened("events.jsonl", io.BytesIO(b"".join(json.dumps(event).encode() + b"\n" for event in log)), None)
    return list(read_events(file, PAIRED, lines=lines))


def paired(*log: dict[str, Any]) -> list[tuple[float, float]]:
    """Return (time, error) of the pairs of some events, which are the same however many are read at once."""
    ways = []
    for lines in (1, len(log)):
        blocks = [block for stretch in stretches(*log, lines=lines) for block in stretch.outcomes]
        assert all(block.segments == ["eu"] * len(block) for block in blocks)
        ways.append([(at, float(error)) for one in blocks for at, error in zip(one.ts, one.columns.numbers[0], strict=True)])
    assert ways[0] == ways[1]
    return ways[0]


def test_labels_find_their_predictions_as_in_the_join() -> None:
    """In either order and within the time; an outcome has the label's time and the prediction's segment."""
    prediction, label = half("prediction", 10.0), half("label", 60.0, value=False)
    assert paired(prediction, label) == paired(label, prediction) == [(60.0, 1.0)]
    assert paired(prediction, half("label", 110.1), label) == [(60.0, 1.0)]
    assert paired(prediction, half("label", 110.1)) == []
    assert paired(prediction, half("prediction", 11.0, value=False), label) == [(60.0, 1.0)]
    assert paired(prediction, half("label", 60.0, identity="b")) == []


def test_windows_count_the_first_known_label_of_a_prediction() -> None:
    """A correction counts no second time; a null label counts as none; of labels that came early the newest counts."""
    prediction, right, wrong = half("prediction", 10.0), half("label", 20.0), half("label", 30.0, value=False)
    never = half("label", 25.0, value=None)
    assert paired(prediction, right, wrong) == paired(prediction, right, right) == [(20.0, 0.0)]
    assert paired(prediction, never) == []
    assert paired(prediction, never, wrong) == paired(right, wrong, prediction) == [(30.0, 1.0)]


def test_an_id_is_used_again_after_its_label_window() -> None:
    """A prediction more than `label_within` after the first one of its id is another one, with labels of its own."""
    first, second = half("prediction", 10.0), half("prediction", 110.5, value=False)
    assert paired(first, second, half("label", 120.0, value=False)) == [(120.0, 0.0)]
    assert paired(first, half("prediction", 110.0, value=False), half("label", 110.0)) == [(110.0, 0.0)]


def test_many_predictions_are_forgotten_after_their_label_window() -> None:
    """What waits in a file of an hour is what came within `label_within`, so a long file takes no more memory."""
    log = (half("prediction", 10.0 + at / 20.0, identity=str(at)) for at in range(80_000))
    file = Opened("events.jsonl", io.BytesIO(b"".join(json.dumps(event).encode() + b"\n" for event in log)), None)
    pairs, decoding = FilePairs(PAIRED), Decoding(PAIRED)
    most = 0
    for offset in range(0, 80_000, 4_000):
        values = [line for _, line in islice(file.lines(), 4_000)]
        pairs.blocks(decoding.decode(range(offset, offset + 4_000), [10**18] * 4_000, values))
        most = max(most, pairs.waiting)
    assert most < 50_000


def test_labels_without_a_prediction_are_counted() -> None:
    """Of three labels one finds its prediction, one comes too late, and one has an id that nobody predicted."""
    log = [half("prediction", 10.0), half("label", 20.0), half("label", 200.0), half("label", 20.0, identity="b")]
    assert stretches(*log, lines=2)[-1].labels == {"m": LabelCount(labels=3, without_prediction=1, too_late=1)}
