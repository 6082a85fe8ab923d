"""Rows become windows: nothing is lost, nothing depends on how rows were cut, a crash changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.model.aligner import WindowAligner
from detectors.windows.feature import CATEGORIES, Feature
from detectors.windows.record import OTHER_SEGMENT, Mark, Window, WindowShape
from detectors.windows.row import VOLUME, Row, Value
from detectors.windows.sample import LARGEST, POINTS
from detectors.windows.windows import Closing, Windows
from tests.support.fed_windows import FedWindows

pytestmark = pytest.mark.fast

SHAPES = {
    "a": WindowShape(10.0, 0.0, max_segments=2, max_features=3),
    "b": WindowShape(7.0, 15.0),
    "c": WindowShape(0.1, 0.05),
    "d": WindowShape(10.0, 20.0, max_buffered_values=40),
}

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from([1e308, -1e308, 5e-324, 0.0, -0.0]),
    st.text(max_size=80),
)
features = st.dictionaries(st.sampled_from(["x", "y", "z", "w", "v"]), values, max_size=4)


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    """Rows of three models, ticks among them; time wanders forward, with gaps in the offsets."""
    rows: list[Row] = []
    offset, now = 0, draw(st.sampled_from([0.0, 100.0, 1.7e9]))
    for _ in range(draw(st.integers(0, 40))):
        offset += draw(st.integers(1, 3))
        now += draw(st.sampled_from([0.0, 0.01, 0.1, 1.0, 4.0, 30.0]))
        ts = max(0.0, now - draw(st.sampled_from([0.0, 0.0, 0.05, 3.0, 12.0, 40.0])))
        model = draw(st.sampled_from(["a", "b", "c", "d", "nobody's"]))
        tick = draw(st.integers(0, 9)) == 0
        segment = draw(st.sampled_from(["", "eu", "us", "asia", "mars"]))
        rows.append(Row(offset, model, ts, segment, None if tick else draw(features)))
    return rows


def windows_of(rows: Iterable[Row], sizes: Sequence[int] = ()) -> tuple[list[Window | Mark], FedWindows]:
    """Return all that comes out of rows cut into batches of those sizes, then one by one."""
    rows = list(rows)
    windows = FedWindows(SHAPES)
    for size in sizes:
        windows.add(rows[:size])
        rows = rows[size:]
    for row in rows:
        windows.add([row])
    return list(windows.written), windows


def closed_by_ticks(rows: list[Row]) -> list[Row]:
    """Return the rows and a tick for each model that closes whatever is open."""
    last = max((row.offset for row in rows), default=0)
    end = max((row.ts for row in rows), default=0.0) + 1000.0
    return [*rows, *(Row(last + 1 + index, model, end, "", None) for index, model in enumerate(SHAPES))]


@pytest.mark.slow
@given(row_lists())
def test_every_row_is_in_one_window_or_late(rows: list[Row]) -> None:
    """Rows in = rows in windows + late rows; ticks and models without a shape are in neither."""
    written, windows = windows_of(closed_by_ticks(rows))
    for model in SHAPES:
        inside = sum(item.n for item in written if isinstance(item, Window) and item.model == model)
        sent = sum(1 for row in rows if row.model == model and row.values is not None)
        assert inside + windows.late[model] == sent


@pytest.mark.slow
@given(row_lists())
def test_a_window_accounts_for_every_value(rows: list[Row]) -> None:
    """Numbers, categories and missing values of each feature add up to the rows of its window."""
    for item in windows_of(closed_by_ticks(rows))[0]:
        if isinstance(item, Window):
            for feature in item.features.values():
                numbers = feature.numeric.n if feature.numeric else 0
                assert numbers + sum(feature.categories.values()) + feature.other + feature.missing == item.n


@pytest.mark.slow
@given(row_lists())
def test_a_bucket_comes_out_once_and_before_its_mark(rows: list[Row]) -> None:
    """No (model, segment, start) comes twice; when a mark comes, all windows up to it have come and none after."""
    seen: set[tuple[str, str, float]] = set()
    marked: dict[str, float] = {}
    for item in windows_of(closed_by_ticks(rows))[0]:
        if isinstance(item, Mark):
            assert item.until > marked.get(item.model, float("-inf"))
            marked[item.model] = item.until
        else:
            assert (item.model, item.segment, item.start) not in seen
            assert item.end > marked.get(item.model, float("-inf"))
            seen.add((item.model, item.segment, item.start))


def test_the_name_of_the_number_of_rows_is_no_features() -> None:
    """A feature of an event that is called as the volume is dropped, and takes no other's place."""
    values: dict[str, Value] = {VOLUME: 5.0, "w": 1.0, "x": 2.0, "y": 3.0}
    written, _ = windows_of([Row(1, "a", 3.0, "", values), Row(2, "a", 20.0, "", None)])
    (window,) = (record for record in written if isinstance(record, Window))
    assert sorted(window.features) == ["w", "x", "y"]  # as many as the model may have


@pytest.mark.slow
@given(row_lists(), st.lists(st.integers(0, 12), max_size=12))
def test_batches_change_nothing(rows: list[Row], sizes: list[int]) -> None:
    """A model's windows, and its furthest mark, do not depend on how the rows were cut into batches."""
    one, whole = windows_of(rows)
    cut, parts = windows_of(rows, sizes)
    for model in SHAPES:
        mine = [[item for item in items if isinstance(item, Window) and item.model == model] for items in (one, cut)]
        assert mine[0] == mine[1]
    assert whole.open.watermarks() == parts.open.watermarks()
    assert whole.late == parts.late
    assert whole.open.durable(10**6) == parts.open.durable(10**6)


def of_model(model: str, closed: Iterable[Closing]) -> list[Closing]:
    """Return the windows and marks of one model."""
    return [closing for closing in closed if closing[1].model == model]


@pytest.mark.slow
@given(row_lists())
def test_each_row_that_closes_something_is_named_and_marked(rows: list[Row]) -> None:
    """With a mark for each row, a stretch of rows gives what they give one by one, with the offsets of the same rows."""
    whole, single = (Windows("features", source=0, sources=1, shapes=SHAPES, mark_rows=True) for _ in range(2))
    together = whole.add_rows(rows).closed
    apart = [(row.offset, single.add_rows([row]).closed) for row in rows]
    assert all(by == offset for offset, closed in apart for by, _ in closed)
    for model in SHAPES:
        assert of_model(model, together) == [closing for _, closed in apart for closing in of_model(model, closed)]


@pytest.mark.slow
@given(row_lists())
def test_the_end_closes_what_a_late_tick_closes(rows: list[Row]) -> None:
    """Where a file ends each open bucket is written, and a mark that no window and no row is behind; then nothing is open."""
    windows = Windows("features", source=0, sources=1, shapes=SHAPES)
    written = windows.add_rows(rows).records + [record for _, record in windows.end(10**6)]
    wanted = windows_of(closed_by_ticks(rows))[0]
    for model in SHAPES:
        mine, others = ([one for one in found if isinstance(one, Window) and one.model == model] for found in (written, wanted))
        assert mine == others
        newest = max((row.ts for row in rows if row.model == model and row.values is not None), default=None)
        marks = [record.until for record in written if isinstance(record, Mark) and record.model == model]
        # At the newest row, where its time is the end of its bucket by the rounding of a product: 1301 * 0.1 is 130.1.
        assert newest is None or marks[-1] >= max([newest, *(window.end for window in mine)])
    assert windows.end(10**6) == []


def judged(records: Iterable[Window | Mark]) -> dict[str, list[tuple[float, dict[str, list[Window]]]]]:
    """Return, for each model, the buckets in the order and the shape in which a judge gets them."""
    streams: dict[str, WindowAligner] = {}
    buckets: dict[str, list[tuple[float, dict[str, list[Window]]]]] = {}
    for record in records:
        aligner = streams.setdefault(record.model, WindowAligner())
        if isinstance(record, Window):
            aligner.add(record)
        else:
            buckets.setdefault(record.model, []).extend(aligner.advance(record))
    return buckets


@pytest.mark.slow
@given(row_lists(), st.data())
def test_a_crash_anywhere_changes_nothing_for_the_judge(rows: list[Row], data: st.DataObject) -> None:
    """Crash after any row with anything sent since the last commit, start again there or before: the judge gets the same buckets.

    What is committed is the least that all agents of a partition need, so it may lie anywhere before.
    """
    rows = closed_by_ticks(rows)
    log: list[Window | Mark] = []
    position = 0
    for _ in range(data.draw(st.integers(1, 3), label="crashes")):
        windows = FedWindows(SHAPES)
        todo = [row for row in rows if row.offset >= position]
        crash = data.draw(st.integers(0, len(todo)), label="rows until the crash")
        commit = data.draw(st.integers(0, crash), label="rows until the last commit")
        outbox: list[Window | Mark] = []
        for index, row in enumerate(todo[:crash]):
            if index == commit and index:  # everything so far is acknowledged, and the offset committed
                log.extend(outbox)
                outbox = []
                durable = windows.open.durable(todo[index - 1].offset + 1)
                position = data.draw(st.integers(position, durable), label="what the slowest agent needs")
            outbox.extend(windows.add([row]))
        # What was on its way when the process died may have arrived, from the first on.
        log.extend(outbox[: data.draw(st.integers(0, len(outbox)), label="sent and not committed")])
    last = FedWindows(SHAPES)
    for row in rows:
        if row.offset >= position:
            log.extend(last.add([row]))
    assert judged(log) == judged(windows_of(rows)[0])


@pytest.mark.slow
@given(row_lists())
def test_durable_never_goes_back_and_never_passes_an_open_row(rows: list[Row]) -> None:
    """The committed offset only grows, and no open window begins before it."""
    windows = FedWindows({"a": SHAPES["a"]})
    before = 0
    for row in rows:
        windows.add([row])
        durable = windows.open.durable(row.offset + 1)
        assert before <= durable <= row.offset + 1
        before = durable


@given(st.lists(features, min_size=1, max_size=70))
def test_no_value_is_too_strange(column: list[dict[str, Value]]) -> None:
    """Huge integers, 1e308, NaN, booleans, strings and nulls in one feature give a window that any format can hold."""
    rows = [Row(index, "b", 1.0, "", found) for index, found in enumerate(column)]
    (found,) = [item for item in windows_of(closed_by_ticks(rows))[0] if isinstance(item, Window)]
    packed = msgspec.msgpack.encode(found)
    assert msgspec.msgpack.decode(packed, type=Window) == found
    for feature in found.features.values():
        if feature.numeric is not None:
            shown = (feature.numeric.total, feature.numeric.squares, feature.numeric.low, feature.numeric.high)
            assert all(-LARGEST <= value <= LARGEST for value in shown), shown


def test_segments_beyond_the_limit_go_together() -> None:
    """With two segments allowed, the third and fourth of a bucket are one, and rows without a segment stay apart."""
    names = ["eu", "us", "asia", "mars", "", "eu", "mars"]
    rows = [Row(index, "a", 1.0, name, {"x": 1.0}) for index, name in enumerate(names)]
    found = {item.segment: item.n for item in windows_of(closed_by_ticks(rows))[0] if isinstance(item, Window)}
    assert found == {"": 1, "eu": 2, "us": 1, OTHER_SEGMENT: 3}


def test_features_beyond_the_limit_are_left_out() -> None:
    """The first `max_features` names in order of rows are kept, whatever the batches."""
    rows = [Row(index, "a", 1.0, "", {name: 1.0, "x": 2.0}) for index, name in enumerate(["d", "c", "b", "e"])]
    (found,) = [item for item in windows_of(closed_by_ticks(rows))[0] if isinstance(item, Window)]
    assert sorted(found.features) == ["c", "d", "x"]


def test_a_feature_of_which_some_rows_lack_is_missing_there() -> None:
    """Null and absent count alike."""
    rows = [Row(0, "a", 1.0, "", {"x": 1.0}), Row(1, "a", 1.0, "", {"x": None}), Row(2, "a", 1.0, "", {})]
    (found,) = [item for item in windows_of(closed_by_ticks(rows))[0] if isinstance(item, Window)]
    assert found.features["x"].missing == 2


def test_rare_categories_are_counted_without_a_name() -> None:
    """A window names its most frequent categories and counts the others together; long names are cut."""
    rows = [Row(index, "b", 1.0, "", {"x": f"{index // 2:03d}" + "x" * 100}) for index in range(2 * CATEGORIES + 10)]
    (found,) = [item for item in windows_of(closed_by_ticks(rows))[0] if isinstance(item, Window)]
    feature = found.features["x"]
    assert (len(feature.categories), feature.other) == (CATEGORIES, 10)
    assert max(map(len, feature.categories)) == 64


def test_an_event_at_the_very_end_belongs_to_the_next_window() -> None:
    """Buckets are half-open: 110.0 closes [100, 110) and is not in it."""
    written, _ = windows_of([Row(0, "a", 109.999, "", {"x": 1.0}), Row(1, "a", 110.0, "", {"x": 1.0})])
    (found,) = [item for item in written if isinstance(item, Window)]
    assert (found.start, found.end, found.n) == (100.0, 110.0, 1)


def test_lateness_is_waited_for() -> None:
    """An event as late as allowed is in its window; one that comes after its window closed is counted."""
    rows = [Row(0, "b", 100.0, "", {"x": 1.0}), Row(1, "b", 119.0, "", {"x": 1.0}), Row(2, "b", 104.5, "", {"x": 1.0})]
    assert windows_of(rows)[1].late == {}
    rows.append(Row(3, "b", 200.0, "", {"x": 1.0}))
    rows.append(Row(4, "b", 104.5, "", {"x": 1.0}))
    assert windows_of(rows)[1].late == {"b": 1}


@pytest.mark.parametrize("seconds", [0.1, 1 / 3, 0.7, 60.0, 86_400.0])
def test_a_window_ends_where_its_mark_says(seconds: float) -> None:
    """Widths that no double can hold exactly still complete: the end of the last bucket equals the mark."""
    windows = FedWindows({"m": WindowShape(seconds, 0.0)})
    for index in range(300):
        written = windows.add([Row(index, "m", 1_795_000_000.0 + index * seconds, "", {"x": 1.0})])
        ends = [item.end for item in written if isinstance(item, Window)]
        assert all(end <= written[-1].until for end in ends if isinstance(written[-1], Mark))
    assert windows.open.durable(300) >= 298


def test_an_idle_model_does_not_hold_the_offset_back() -> None:
    """A model that fell silent is closed, written and forgotten after a million offsets; others go on."""
    rows = [Row(0, "a", 5.0, "", {"x": 1.0})]
    rows += [Row(index * 40_000, "b", 100.0 + index, "", {"x": 1.0}) for index in range(1, 40)]
    written, windows = windows_of(rows)
    assert [(item.start, item.n) for item in written if isinstance(item, Window) and item.model == "a"] == [(0.0, 1)]
    assert [item.until for item in written if isinstance(item, Mark) and item.model == "a"] == [0.0, 10.0]
    assert windows.open.durable(10**7) > 40_000
    assert windows_of(rows, [7, 20, 2])[1].open.durable(10**7) == windows.open.durable(10**7)
    again = windows.add([Row(1_600_000, "a", 7.0, "", {"x": 1.0}), Row(1_600_001, "a", 25.0, "", {"x": 1.0})])
    assert sum(len(parts) for _, parts in judged([*written, *again])["a"]) == 1, "the judge ignores what was written"


def test_a_window_beyond_the_limit_is_folded_and_says_nearly_the_same() -> None:
    """Counts, sums and extremes of a folded window are exact, its quantiles within a hundredth of the range."""
    draw = np.random.default_rng(3)
    values = draw.normal(size=20_000).tolist()
    rows = [Row(at, "m", 1.0, "", {"x": x, "c": "red" if x > 0 else "blue", "n": None}) for at, x in enumerate(values)]
    end = Row(len(rows), "m", 100.0, "", None)
    found = {}
    for limit in (10_000, 10**9):
        windows = FedWindows({"m": WindowShape(10.0, 0.0, max_buffered_values=limit)})
        for start in range(0, len(rows), 777):
            windows.add(rows[start : start + 777])
        (window,) = (item for item in windows.add([end]) if isinstance(item, Window))
        found[limit] = window
    folded, whole = found[10_000].features, found[10**9].features
    assert folded["c"] == whole["c"]
    assert folded["n"] == whole["n"] == Feature(missing=20_000)
    mine, exact = folded["x"].numeric, whole["x"].numeric
    assert mine is not None
    assert exact is not None
    assert (mine.n, mine.low, mine.high) == (exact.n, exact.low, exact.high)
    assert mine.total == pytest.approx(exact.total)
    assert mine.squares == pytest.approx(exact.squares)
    ranks = np.searchsorted(np.sort(values), mine.values()) / len(values)
    assert np.abs(ranks - (np.arange(POINTS) + 0.5) / POINTS).max() < 0.01


@pytest.mark.slow
def test_rows_held_stay_below_the_limit_whatever_comes() -> None:
    """However many rows and segments a bucket gets, no more values are buffered than `max_buffered_values` and one row."""
    shape = WindowShape(10.0, 0.0, max_buffered_values=5_000, max_segments=20)
    windows = FedWindows({"m": shape})
    for start in range(0, 20_000, 500):
        windows.add([Row(at, "m", 1.0, f"s{at % 37}", {"x": 1.0, f"y{at % 50}": "a"}) for at in range(start, start + 500)])
        (bucket,) = windows.open._models["m"].open.values()
        assert bucket.buffered <= shape.max_buffered_values
        assert bucket.buffered == sum(window.buffered for window in bucket.windows.values())
    (end,) = (item for item in windows.add([Row(20_000, "m", 50.0, "", None)]) if isinstance(item, Mark))
    assert end.until == 50.0


def alive(windows: FedWindows) -> int:
    """Return how many cells the open windows hold on to."""
    buckets = [bucket for progress in windows.open._models.values() for bucket in progress.open.values()]
    blocks = {id(part.block): part.block for bucket in buckets for window in bucket.windows.values() for part in window.parts}
    return sum(block.columns.numbers.size for block in blocks.values())


@pytest.mark.parametrize("skewed", [True, False])
def test_rows_that_are_folded_or_closed_are_free(skewed: bool) -> None:
    """Neither a large segment among small ones nor one row of the next bucket in each fetch keeps the others in memory."""
    shape = WindowShape(10.0, 1e6, max_buffered_values=20_000)
    windows = FedWindows({"m": shape})
    for start in range(0, 60_000, 1000):
        rows = [
            Row(at, "m", 1.0, f"s{at // 50 % 50}" if skewed and at % 50 == 7 else "", {"x": 1.0, "y": 2.0})
            if skewed or at % 1000
            else Row(at, "m", 11.0, "", {"x": 1.0, "y": 2.0})
            for at in range(start, start + 1000)
        ]
        windows.add(rows)
    assert alive(windows) < shape.max_buffered_values


def test_a_bucket_of_an_idle_model_stays_closed() -> None:
    """A model that comes back after a long silence finds its old bucket closed: its rows are late, and counted."""
    windows = FedWindows({"m": WindowShape(86_400.0, 0.0), "n": WindowShape(60.0, 0.0)})
    first = windows.add([Row(at, "m", 100.0 + at, "", {"x": 1.0}) for at in range(5)])
    closing = windows.add([Row(1_200_000, "n", 200.0, "", {"x": 1.0})])
    again = windows.add([Row(1_200_001 + at, "m", 5_000.0 + at, "", {"x": 1.0}) for at in range(5)])
    assert sum(item.n for item in [*first, *closing, *again] if isinstance(item, Window)) == 5
    assert windows.late == {"m": 5}
