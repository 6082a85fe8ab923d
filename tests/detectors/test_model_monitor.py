"""Everything known of a model is a function of the windows topic: order of sources, repeats and restarts change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.incidents.alert import Alert
from detectors.incidents.decision import Decision
from detectors.incidents.retrain import Request
from detectors.model.aligner import WindowAligner
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, OutlierSpec, ReferenceSpec
from detectors.windows.record import OTHER_SEGMENT, Kind, Mark, Window
from detectors.windows.row import ERROR
from streams.state import snapshot
from tests.support.paths import ROOT
from tests.support.simulated import alerts, history, mixed, numbers, requests, watched, window
from tests.support.story import ROUND_ROBIN, SOURCES, SPEC, Record, as_bytes, feed, interleaved, story, swapped


def by_side(records: Iterable[Record]) -> dict[str, list[bytes]]:
    """Return what a watch finds in records when nothing is answered: what features say, and what outcomes say."""
    monitor = ModelMonitor.begin(SPEC)
    found = [finding for record in records for finding in monitor.add(record)]
    of_outcomes = [
        (isinstance(one, Alert) and one.level == "performance") or (isinstance(one, Request) and one.reason == "performance")
        for one in found
    ]
    return {
        channel: as_bytes([one for one, mine in zip(found, of_outcomes, strict=True) if mine == (channel == "outcomes")])
        for channel in ("features", "outcomes")
    }


@given(st.lists(st.tuples(st.integers(0, SOURCES - 1), st.booleans()), max_size=2000))
@settings(max_examples=25)
def test_how_windows_of_features_and_of_outcomes_interleave_changes_nothing(turns: list[tuple[int, bool]]) -> None:
    """Alerts, requests and references are the same when the one kind is written long after the other, as after an outage."""
    rest = {
        (source, features): [one for one in reversed(records) if (one.kind == "features") == features]  # type: ignore[union-attr]
        for source, records in enumerate(story())
        for features in (True, False)
    }
    mixed_up = [rest[turn].pop() for turn in turns if rest[turn]]
    mixed_up += [record for records in rest.values() for record in reversed(records)]
    told = by_side(mixed_up)
    assert told == by_side(interleaved(ROUND_ROBIN))
    assert len(told["features"]) > 3
    assert len(told["outcomes"]) > 1


@pytest.fixture(scope="module")
def clean() -> list[Finding]:
    """What is found when nothing goes wrong."""
    return feed(ModelMonitor.begin(SPEC), interleaved(ROUND_ROBIN))


def test_the_story_has_all_that_can_happen(clean: list[Finding]) -> None:
    """References, alerts of every status and level, and a request: what the other tests here repeat is not empty."""
    told = [finding for finding in clean if isinstance(finding, Alert)]
    assert {alert.status for alert in told} == {"opened", "updated", "resolved"}
    assert {alert.level for alert in told} == {"drift", "performance"}
    assert requests(clean)
    assert any(isinstance(finding, ReferenceLearned) for finding in clean)
    assert {verdict.feature for alert in told for verdict in alert.features} == {"x", "y", "city", ERROR}


def unanswered(records: Iterable[Record], kind: Kind) -> list[bytes]:
    """Return what is found in the records of one kind; when a swap comes is another matter than how sources take turns."""
    return as_bytes(watched(SPEC, (record for record in records if not isinstance(record, Decision) and record.kind == kind))[1])


@settings(max_examples=15)
@given(st.lists(st.integers(0, SOURCES - 1), max_size=400), st.sampled_from(["features", "outcomes"]))
def test_the_order_of_sources_changes_nothing(order: list[int], kind: Kind) -> None:
    """However the sources of one kind take turns in the topic, the same is found in the same order."""
    usual = unanswered(interleaved(ROUND_ROBIN), kind)
    assert len(usual) > 1
    assert unanswered(interleaved(order), kind) == usual


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 60)), max_size=6))
def test_repeats_change_nothing(repeats: list[tuple[int, int]]) -> None:
    """A producer that sends any stretch again after a crash is not heard twice."""
    records = interleaved(ROUND_ROBIN)
    again: list[Record] = []
    for index, record in enumerate(records):
        again.append(record)
        for end, length in repeats:
            if index == end:
                again.extend(records[max(0, index - length) : index + 1])
    assert as_bytes(feed(ModelMonitor.begin(SPEC), again)) == as_bytes(feed(ModelMonitor.begin(SPEC), records))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=4))
def test_a_snapshot_anywhere_changes_nothing(cuts: list[int]) -> None:
    """Stored and loaded at any record, the watch finds the very same afterwards; the bytes are a fixed point."""
    records = interleaved(ROUND_ROBIN)
    monitor = ModelMonitor.begin(SPEC)
    found: list[Finding] = []
    at = 0
    for cut in sorted(cuts):
        found.extend(feed(monitor, records[at:cut]))
        at = max(at, cut)
        payload = snapshot.dump({"m": monitor})
        monitor = snapshot.load("judge/0", payload)["m"]
        assert snapshot.dump({"m": monitor}) == payload
        monitor.bind(SPEC)
    found.extend(feed(monitor, records[at:]))
    assert as_bytes(found) == as_bytes(feed(ModelMonitor.begin(SPEC), records))


_PRINT_DIGEST = """
from detectors.model.model_monitor import ModelMonitor
from tests.support import story

monitor = ModelMonitor.begin(story.SPEC)
found = story.feed(monitor, story.interleaved(story.ROUND_ROBIN))
print(story.digest(monitor, found))
"""


def test_another_process_finds_the_same() -> None:
    """Ids, findings and snapshots do not depend on the process: not on its hash seed, not on its run."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def part(source: int, start: float, segment: str = "") -> Window:
    """Return an empty part of a bucket."""
    return Window("m", segment, "features", source, start, 10.0, 0, 0, 1, {})


def mark(source: int, until: float) -> Mark:
    """Return a mark of one of two sources."""
    return Mark(model="m", kind="features", source=source, sources=2, until=until)


def test_a_missing_source_holds_the_bucket_back() -> None:
    """A bucket is judged when the last source has passed its end, not before; the one behind is named."""
    aligner = WindowAligner()
    aligner.add(part(0, 0.0))
    assert aligner.advance(mark(0, 30.0)) == []
    assert aligner.behind() == {1: 30.0}
    assert aligner.advance(mark(1, 5.0)) == []
    aligner.add(part(1, 0.0))
    assert aligner.advance(mark(1, 10.0)) == [(0.0, {"": [part(0, 0.0), part(1, 0.0)]})]
    assert aligner.behind() == {1: 30.0}
    assert aligner.advance(mark(1, 30.0)) == []
    assert aligner.behind() == {}
    assert aligner.parts == {}


def test_a_part_behind_its_mark_is_a_repeat() -> None:
    """What ends at or before its source's mark was judged already; what ends after it waits."""
    aligner = WindowAligner()
    aligner.advance(mark(0, 20.0))
    aligner.add(part(0, 10.0))
    assert aligner.parts == {}
    aligner.add(part(0, 20.0))
    assert list(aligner.parts) == [20.0]


def test_what_a_new_source_has_of_a_judged_bucket_is_late() -> None:
    """Partitions were added: what the new one says of buckets judged without it is counted, and later ones wait for it."""
    aligner = WindowAligner()
    for source in (0, 1):
        aligner.add(part(source, 0.0))
    aligner.advance(mark(0, 10.0))
    assert [start for start, _ in aligner.advance(mark(1, 10.0))] == [0.0]
    grown = [Mark("m", "features", source, 3, 30.0) for source in range(3)]
    for start in (10.0, 20.0):
        aligner.add(part(0, start))
        aligner.add(part(1, start))
    assert aligner.advance(grown[0]) == []
    for start in (0.0, 10.0):
        aligner.add(part(2, start))
    assert (aligner.late, list(aligner.parts)) == (1, [10.0, 20.0])
    assert aligner.advance(grown[1]) == []
    found = [(start, [one.source for one in segments[""]]) for start, segments in aligner.advance(grown[2])]
    assert found == [(10.0, [0, 1, 2]), (20.0, [0, 1])]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
def test_a_bucket_is_judged_once_and_in_order_however_sources_come(steps: list[tuple[int, int]]) -> None:
    """Sources are added at any time, with rows as old as they like: every row is judged once, waits, or is late."""
    aligner, sources, taken = WindowAligner(), 1, 0
    places: dict[int, int] = {}
    judged: list[float] = []
    rows = 0
    for source, buckets in steps:
        sources = max(sources, source + 1)
        begin = places.get(source, 0)
        for place in range(begin, begin + buckets):
            aligner.add(part(source, place * 10.0))
            taken += 1
        places[source] = begin + buckets
        for start, segments in aligner.advance(Mark("m", "features", source, sources, places[source] * 10.0)):
            judged.append(start)
            rows += sum(one.n for parts in segments.values() for one in parts)
    waiting = sum(len(parts) for segments in aligner.parts.values() for parts in segments.values())
    assert judged == sorted(set(judged))
    assert rows + waiting + aligner.late == taken


def test_segments_beyond_the_limit_are_judged_together() -> None:
    """With one named segment allowed, the others of all buckets have one judge, and its rows are those of all."""
    spec = ModelSpec("m", window_seconds=10.0, max_segments=1)
    monitor = ModelMonitor.begin(spec)
    x = numbers(np.zeros((1, 3)))[0]
    for index, segments in enumerate([["eu"], ["us", "asia"], ["", "mars"]]):
        for segment in segments:
            monitor.add(window(spec, index * 10.0, {"x": x}, rows=3, segment=segment))
        monitor.add(Mark(model="m", kind="features", source=0, sources=1, until=index * 10.0 + 10.0))
    assert sorted(monitor.channels["features"].judges) == ["", "eu", OTHER_SEGMENT]
    other = monitor.channels["features"].judges[OTHER_SEGMENT].learner
    assert other is not None
    assert [(kept.start, kept.rows) for kept in other.windows] == [(10.0, 6), (20.0, 3)]


QUIET = ModelSpec(
    "m",
    factory="somewhere:make",
    window_seconds=60.0,
    reference=ReferenceSpec(seconds=60 * 60.0, min_windows=24),
    outliers=OutlierSpec(enabled=False),
)


def test_a_window_without_any_feature_is_judged() -> None:
    """When all features vanish at once every one of them is missing, and somebody hears of it."""
    rng = np.random.default_rng(2)
    records = list(history(QUIET, {"x": numbers(rng.normal(size=(80, 20))), "y": numbers(rng.normal(size=(80, 20)))}))
    for index in range(80, 90):
        records.append(window(QUIET, index * 60.0, {}, rows=20))
        records.append(Mark(model="m", kind="features", source=0, sources=1, until=(index + 1) * 60.0))
    opened = alerts(watched(QUIET, records)[1])
    assert [[verdict.words for verdict in alert.features] for alert in opened] == [["100 % null, was 0 %"] * 2]
    assert opened[0].began_at == 80 * 60.0


def test_a_feature_that_comes_and_goes_is_not_news() -> None:
    """A feature that one window in three has is expected to be missing from the other two."""
    rng = np.random.default_rng(3)
    rare = [found if index % 3 == 0 else None for index, found in enumerate(numbers(rng.normal(size=(600, 20))))]
    columns = {"x": numbers(rng.normal(size=(600, 20))), "rare": rare}
    assert alerts(watched(QUIET, history(QUIET, columns))[1]) == []


def test_a_new_feature_is_watched_after_a_reference_of_its_own() -> None:
    """A feature that appears later is learned while the others stay under watch, then it is watched too."""
    rng = np.random.default_rng(4)
    late = rng.normal(size=(300, 20))
    late[250:] += 4
    columns = {"x": numbers(rng.normal(size=(300, 20))), "late": [None] * 100 + numbers(late[100:])}
    monitor, found = watched(QUIET, history(QUIET, columns))
    assert ("late", "location") in monitor.channels["features"].judges[""].watched()
    assert [(alert.began_at, [verdict.feature for verdict in alert.features]) for alert in alerts(found)] == [
        (250 * 60.0, ["late"])
    ]


def test_a_swap_makes_the_new_regime_normal() -> None:
    """After a promoted request the drifted feature is learned again from its alarm on, and its old value is news then."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(500, 20))
    x[100:400] += 5
    records = list(history(QUIET, {"x": numbers(x), "y": numbers(rng.normal(size=(500, 20)))}))
    monitor = ModelMonitor.begin(QUIET)
    found: list[Finding] = []
    for record in records:
        for finding in monitor.add(record):
            found.append(finding)
            if isinstance(finding, Request) and len(requests(found)) == 1:
                found.extend(monitor.add(swapped(finding)))
    assert [alert.began_at for alert in alerts(found)] == [100 * 60.0, 400 * 60.0]
    (ended, *_) = alerts(found, "resolved")
    assert ended.summary == "m: new reference after the swap to version 2"
    assert monitor.channels["features"].judges[""].references["x"].mean == pytest.approx(5.0, abs=0.3)
    assert monitor.channels["features"].judges[""].references["y"].mean == pytest.approx(0.0, abs=0.3)


def test_a_swap_renews_only_where_it_drifted() -> None:
    """The same feature in another segment kept its distribution, so it keeps its reference and stays under watch."""
    rng = np.random.default_rng(7)
    columns: dict[str, np.ndarray] = {"eu": rng.normal(size=(130, 20)), "us": rng.normal(size=(130, 20))}
    columns["eu"][100:] += 5
    monitor = ModelMonitor.begin(QUIET)
    found: list[Finding] = []
    for index in range(130):
        for segment, values in columns.items():
            monitor.add(window(QUIET, index * 60.0, {"x": numbers(values[index : index + 1])[0]}, rows=20, segment=segment))
        for finding in monitor.add(Mark(model="m", kind="features", source=0, sources=1, until=(index + 1) * 60.0)):
            found.append(finding)
            if isinstance(finding, Request):
                found.extend(monitor.add(swapped(finding)))
    assert list(monitor.channels["features"].judges["eu"].renewing) == ["x"]
    assert monitor.channels["features"].judges["us"].renewing == {}
    assert [(alert.segment, alert.status) for alert in found if not isinstance(alert, Request | ReferenceLearned)] == [
        ("eu", "opened"),
        ("eu", "resolved"),
    ]


def test_a_feature_that_vanished_is_learned_as_vanished() -> None:
    """After the swap its absence is normal; when it comes back, that is news."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(400, 20))
    columns = {"x": [*numbers(x[:100]), *[None] * 200, *numbers(x[300:])], "y": numbers(rng.normal(size=(400, 20)))}
    monitor = ModelMonitor.begin(QUIET)
    found: list[Finding] = []
    for record in history(QUIET, columns):
        for finding in monitor.add(record):
            found.append(finding)
            if isinstance(finding, Request) and len(requests(found)) == 1:
                found.extend(monitor.add(swapped(finding)))
    assert [[verdict.words for verdict in alert.features] for alert in alerts(found)] == [
        ["100 % null, was 0 %"],
        ["0 % null, was 100 %"],
    ]


def test_a_rejected_candidate_changes_nothing() -> None:
    """Without a promotion the incident stays open and the old reference in force."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(140, 20))
    x[100:] += 5
    monitor = ModelMonitor.begin(QUIET)
    found: list[Finding] = []
    for record in history(QUIET, {"x": numbers(x)}):
        for finding in monitor.add(record):
            found.append(finding)
            if isinstance(finding, Request):
                found.extend(monitor.add(Decision("swap-1", "m", finding.id, "rejected", None, [])))
    assert len(requests(found)) == 1
    assert (
        len(monitor.open_incidents),
        monitor.channels["features"].judges[""].renewing,
        monitor.channels["features"].retrains.outstanding,
    ) == (1, {}, None)


def test_a_category_beside_numbers_is_watched_too() -> None:
    """A feature of both kinds has both kinds of statistics, and neither disturbs the other."""
    rng = np.random.default_rng(10)
    rows = [[float(rng.normal()) if rng.random() < 0.7 else "n/a" for _ in range(30)] for _ in range(120)]
    monitor, found = watched(QUIET, history(QUIET, {"x": mixed(rows)}))
    assert {("x", "location"), ("x", "unseen"), ("x", "missing")} <= set(monitor.channels["features"].judges[""].watched())
    assert alerts(found) == []
