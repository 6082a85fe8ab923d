"""Learning: bounded memory, the same baselines whatever was thinned out, and windows as wide as a feature needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from detectors.learning.learner import Learner
from detectors.learning.recording import Recording, turn_of
from detectors.reference.feature_reference import learn_reference
from detectors.reference.learned import Calendar, FeatureBaseline
from detectors.reference.season import choose
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.feature import Feature
from detectors.windows.row import VOLUME
from tests.support.simulated import events_in, mixed, numbers, window

pytestmark = pytest.mark.fast

SHORT = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=600.0))
LONG = ModelSpec("m", volume=True, window_seconds=60.0, reference=ReferenceSpec(seconds=90 * 86_400.0))
DEFAULT = ModelSpec("m", window_seconds=60.0)


def fed(columns: Mapping[str, Sequence[Feature | None]], spec: ModelSpec = LONG) -> Learner:
    """Return a learner that has seen windows that follow each other."""
    learner = Learner(spec.window_seconds)
    for index, found in enumerate(zip(*columns.values(), strict=True)):
        features = {name: feature for name, feature in zip(columns, found, strict=True) if feature is not None}
        rows = max((events_in(feature) for feature in features.values()), default=1)
        start = index * spec.window_seconds
        learner.add(spec, start, [window(spec, start, features, rows=rows)])
    return learner


def ar(rng: np.random.Generator, correlation: float, windows: int, events: int) -> np.ndarray:
    """Return windows of a stationary AR(1) series of variance one."""
    noise = rng.normal(size=windows * events + 1000) * math.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise))[1000:].reshape(windows, events)


def test_time_alone_is_not_enough() -> None:
    """A reference needs its time and its number of windows, counted before they are thinned out."""
    learner = Learner(60.0)
    asked = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=600.0, min_windows=5000))
    late = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=6001 * 60.0, min_windows=5000))
    assert not learner.ready(asked)
    for index in range(6000):
        learner.add(LONG, index * 60.0, [window(LONG, index * 60.0, {}, rows=1)])
        assert learner.ready(asked) == (index >= 4999)
    assert not learner.ready(late)
    assert len(learner.windows) <= 4096


@settings(max_examples=20)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 150), st.booleans())
def test_a_learner_is_bounded(gaps: list[int], repeat: int, short: bool) -> None:
    """However windows are spaced, 4,096 are kept at most, and twice as many counts of rows, and the newest time is known."""
    learner, index, spec = Learner(60.0), 0, SHORT if short else LONG
    for gap in gaps * repeat:
        index += gap
        learner.add(spec, index * 60.0, [window(spec, index * 60.0, {}, rows=3)])
        assert len(learner.windows) <= 4096
    assert len(learner.rows) <= 8192 + 16
    assert learner.seen == len(gaps) * repeat
    assert learner.until == index * 60.0 + 60.0
    assert learner.windows or learner.recording is not None


@pytest.mark.slow
def test_samples_of_many_features_are_bounded() -> None:
    """Four sources of 500 long samples a window: tens of megabytes, neighbours among what is kept, and then measures alone."""
    (sample,) = numbers(np.random.default_rng(1).normal(size=(1, 64)))
    features = {f"f{number}": sample for number in range(500)}
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=150 * 60.0, min_windows=100))
    learner, most = Learner(60.0), 0
    for index in range(70):
        learner.add(spec, index * 60.0, [window(spec, index * 60.0, features, rows=64)] * 4)
        most = max(most, learner.held_bytes)
        starts = [one.start for one in learner.windows]
        assert learner.recording is not None or np.any(np.diff(starts) == 60.0) or index == 0
    assert (60 << 20) < most <= (64 << 20)
    assert learner.recording is not None
    assert (learner.windows, learner.held_bytes) == ([], 0)
    assert not learner.ready(spec)


def test_one_feature_that_is_learned_apart_holds_little() -> None:
    """After an alarm every feature may be learned apart: two megabytes each at most."""
    (sample,) = numbers(np.random.default_rng(2).normal(size=(1, 64)))
    learner = Learner(60.0, ["x"])
    for index in range(3000):
        learner.add(LONG, index * 60.0, [window(LONG, index * 60.0, {"x": sample, "y": sample}, rows=64)] * 8)
    assert learner.held_bytes <= (2 << 20) + 8 * 512
    assert all(part.keys() == {"x"} for one in learner.windows for part in one.parts)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "weeks"), [(60.0, 2), (300.0, 4), (900.0, 2), (900.0, 7), (1200.0, 4)])
def test_what_is_learned_apart_has_the_season_of_the_first_reference(seconds: float, weeks: int) -> None:
    """More windows than samples are kept of, and the week is told by most of them: none is lost for blocks that were dropped."""
    days = 7 * weeks
    spec = ModelSpec("m", window_seconds=seconds, reference=ReferenceSpec(seconds=days * 86_400.0))
    kinds = numbers(np.random.default_rng(10).normal(size=(7, 20)))
    learner, windows = Learner(seconds, ["x"]), int(days * 86_400 / seconds)
    for index in range(windows):
        learner.add(spec, index * seconds, [window(spec, index * seconds, {"x": kinds[index % 7]}, rows=20)])
    assert learner.ready(spec)
    baseline = learner.learn(spec)["x"].baselines["missing"]
    assert baseline.season.name == "weekly"
    assert baseline.windows > min(windows * 0.6, 4096)


def test_every_window_is_measured_once_samples_are_enough() -> None:
    """Those that wait when all is learned too; whatever else is in the windows, the same is learned."""
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=1501 * 60.0))
    columns = [numbers(np.random.default_rng(seed).normal(size=(1501, 9))) for seed in (11, 12)]
    alone, among = Learner(60.0, ["x"]), Learner(60.0, ["x"])
    for index, (x, y) in enumerate(zip(*columns, strict=True)):
        alone.add(spec, index * 60.0, [window(spec, index * 60.0, {"x": x}, rows=9)])
        among.add(spec, index * 60.0, [window(spec, index * 60.0, {"y": y, "x": x}, rows=9)])
        assert alone.recording is None or len(alone.windows) < 16
    assert alone.recording is not None
    assert alone.windows, "the last ones wait"
    one, other = alone.learn(spec)["x"], among.learn(spec)["x"]
    assert one.baselines == other.baselines
    assert {baseline.windows * one.rollup_width for baseline in one.baselines.values()} == {1501}
    assert one.reference.quantiles.tolist() == other.reference.quantiles.tolist()
    assert one.reference.quantiles[-1] == max(feature.numeric.high for feature in columns[0] if feature.numeric is not None)


def test_measures_of_one_feature_are_bounded() -> None:
    """What is learned apart holds 192 KiB of measures at most, and still sees whole blocks."""
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=86_400.0))
    kinds = numbers(np.random.default_rng(13).normal(size=(7, 20)))
    learner, index = Learner(60.0, ["x"]), 0
    while learner.recording is None or index % 16:
        learner.add(spec, index * 60.0, [window(spec, index * 60.0, {"x": kinds[index % 7]}, rows=20)])
        index += 1
    ((rollup_width, history),) = learner.recording.histories.items()
    later = index + rollup_width * ((192 << 10) // history.window_bytes - len(history.starts))
    history.starts += [60.0 * place for place in range(index, later, rollup_width)]
    history.values, history.counts = history.values[:1] * len(history.starts), history.counts[:1] * len(history.starts)
    for place in range(later, later + 64):
        learner.add(spec, place * 60.0, [window(spec, place * 60.0, {"x": kinds[place % 7]}, rows=20)])
    assert learner.recording.every == 2
    assert (80 << 10) < history.held_bytes <= 192 << 10
    assert np.mean(np.diff(history.starts) == 60.0 * rollup_width) > 0.8


@pytest.mark.parametrize("weeks", [2, 3, 4])
@pytest.mark.parametrize("seconds", [5.0, 10.0, 30.0, 45.0, 60.0, 73.0, 100.0, 120.0, 180.0])
def test_what_is_dropped_costs_no_season(seconds: float, weeks: int) -> None:
    """Of more than 8,192 windows blocks are dropped until they are no more; those of one week fill the gaps of another."""
    first, length = round(20_500 * 86_400 / seconds), weeks * 7 * 86_400.0
    blocks = np.arange(first // 16, first // 16 + int(length / seconds / 16))
    turns, every = np.array([turn_of(int(block) * 16, seconds) for block in blocks]), 1
    while np.sum(turns % every == 0) * 16 > 8192:
        every *= 2
    kept = blocks[turns % every == 0]
    assert len(kept) * 16 > 8192 * 0.45
    local = ((kept[:, None] * 16 + np.arange(16)) * seconds).ravel()
    assert choose(seconds, length, local) == "weekly"


@pytest.mark.parametrize("seconds", [1800.0, 3600.0, 5400.0, 10_800.0, 86_400.0])
def test_wide_windows_are_dropped_by_halves(seconds: float) -> None:
    """However many windows a day has, every second block goes."""
    turns = np.array([turn_of(place, seconds) for place in range(4096)])
    assert all(len(set(turns[low : low + 16].tolist())) == 1 for low in range(0, 4096, 16))
    for every in (2, 4, 8):
        assert np.mean(turns % every == 0) == 1 / every


@pytest.mark.slow
def test_features_that_are_learned_apart_are_not_all_measured_at_once() -> None:
    """After a swap all are learned from the same window on; when their references are made differs by their names."""
    begun: list[int] = []
    windows = [(index * 60.0, [window(SHORT, index * 60.0, {}, rows=1)]) for index in range(1025)]
    for name in (f"f{number}" for number in range(24)):
        learner, index = Learner(60.0, [name]), 0
        while learner.recording is None:
            learner.add(SHORT, *windows[index])
            index += 1
        begun.append(index)
    assert max(map(begun.count, begun)) <= 3


@pytest.mark.slow
def test_measures_of_many_features_are_bounded() -> None:
    """A recording that outgrows its bytes drops every second block, of each history alike, and goes on so."""
    names = [f"f{number}" for number in range(8000)]
    recording = Recording.begin(60.0, dict.fromkeys(names, learn_reference([[]])), dict.fromkeys(names, 1), outlier_beyond=6.0)
    (history,) = recording.histories.values()
    recording.add(0.0, [], 1)
    most = recording.most_bytes // history.held_bytes
    history.starts = [60.0 * index for index in range(most - 8)]
    history.values, history.counts = history.values * (most - 8), history.counts * (most - 8)
    for index in range(most - 8, most + 64):
        recording.add(index * 60.0, [], 1)
    assert recording.every == 2
    assert history.held_bytes <= recording.most_bytes
    assert len(history.starts) == len(history.values) == len(history.counts)
    assert {turn_of(round(start / 60.0), 60.0) % 2 for start in history.starts} == {0}
    assert len(history.starts) > most // 2 - 16
    assert history.starts[-1] > (most + 32) * 60.0


@pytest.mark.slow
def test_a_recording_says_what_the_samples_would_have() -> None:
    """Three days of minutes, thinned and measured on the way, give about the baselines of all windows and all samples."""
    rng = np.random.default_rng(3)
    level = ar(rng, 0.8, 4320, 1) * 0.5
    columns: dict[str, list[Feature]] = {
        "x": numbers(rng.normal(size=(4320, 20)) + level),
        "city": mixed(rng.choice(["NO", "SE", "DK"], size=(4320, 20), p=[0.5, 0.3, 0.2]).tolist()),
    }
    learner = fed(columns, DEFAULT)
    assert learner.recording is not None
    assert learner.ready(DEFAULT)
    found = learner.learn(DEFAULT)
    references = {name: learn_reference([[one] for one in column]) for name, column in columns.items()}
    raw = Recording.begin(60.0, references, {name: found[name].rollup_width for name in columns}, outlier_beyond=6.0)
    for index, held in enumerate(zip(*columns.values(), strict=True)):
        raw.add(index * 60.0, [dict(zip(columns, held, strict=True))], 20)
    wanted = raw.learn(Calendar(4320 * 60.0, "UTC", ""))
    for name in columns:
        one, other = found[name], wanted[name]
        assert (
            np.abs(
                one.reference.normal_scores(other.reference.quantiles) - other.reference.normal_scores(other.reference.quantiles)
            ).max(initial=0.0)
            < 0.35
        )
        assert one.reference.shares == pytest.approx(other.reference.shares, abs=0.02)
        assert one.baselines.keys() == other.baselines.keys()
        for statistic, baseline in one.baselines.items():
            same = other.baselines[statistic]
            assert baseline.season.name == same.season.name
            assert baseline.season.parameters[0] == pytest.approx(same.season.parameters[0], abs=0.05)
            deviations = [math.sqrt(each.between + each.within / 20) for each in (baseline, same)]
            assert deviations[0] == pytest.approx(deviations[1], rel=0.15, abs=0.01)
            assert baseline.correlation == pytest.approx(same.correlation, abs=0.1)
            assert baseline.spread == pytest.approx(same.spread, rel=0.2)


def test_volume_counts_silent_buckets() -> None:
    """Rows every third minute: most buckets have none, and that is what is usual."""
    learner = Learner(60.0)
    for index in range(0, 300, 3):
        learner.add(LONG, index * 60.0, [window(LONG, index * 60.0, {}, rows=50)])
    learned = learner.learn(LONG)[VOLUME]
    baseline = learned.baselines["volume"]
    assert baseline.windows == 298
    assert baseline.season.parameters[0] == pytest.approx(math.log1p(50) * 100 / 298)
    assert learned.reference.mean == pytest.approx(50 * 100 / 298)
    assert baseline.between >= (2 * math.log(2)) ** 2, "a reference of less than a week does not know the weekend"


def test_volume_needs_some_buckets() -> None:
    """Of seven nothing is said; it is learned without windows, and only where it was asked for."""
    for buckets, there in ((7, False), (8, True)):
        alone = Learner(60.0, [VOLUME])
        for index in range(buckets):
            alone.add(LONG, index * 60.0, [window(LONG, index * 60.0, {"x": numbers(np.ones((1, 9)))[0]}, rows=9)])
        assert (VOLUME in alone.learn(LONG), alone.windows) == (there, [])
    assert list(fed({"x": numbers(np.ones((20, 9)))}).learn(LONG)) == ["x", VOLUME]
    other = Learner(60.0, ["x"])
    other.add(LONG, 0.0, [window(LONG, 0.0, {}, rows=1)])
    assert list(other.learn(LONG)) == ["x"], "a feature that is asked for and was never seen was missing"


def learned(column: list[Feature | None], name: str = "x") -> FeatureBaseline:
    """Return what is learned of a feature."""
    return fed({name: column}).learn(LONG)[name]


def test_independent_values_are_judged_window_by_window() -> None:
    """There is nothing to gain from wider windows where neighbours have nothing in common."""
    rng = np.random.default_rng(4)
    cities = rng.choice(["NO", "SE"], size=(400, 30)).tolist()
    assert learned([*numbers(rng.normal(size=(400, 60)))]).rollup_width == 1
    assert learned([*mixed(cities)]).rollup_width == 1
    assert learned([*mixed([[None] * 30] * 400)]).rollup_width == 1


def test_correlated_values_are_judged_over_wider_windows() -> None:
    """One event a second and a correlation of 0.99: a minute is much like the one before, a few minutes are not."""
    found = learned([*numbers(ar(np.random.default_rng(5), 0.99, 480, 60))])
    assert 1 < found.rollup_width <= 16
    assert found.baselines["location"].windows == 480 // found.rollup_width
    assert found.baselines["location"].correlation < 0.75
    assert learned([*numbers(ar(np.random.default_rng(6), 0.9, 200, 60))]).rollup_width == 1


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_few_values_are_judged_over_wider_windows(kind: str) -> None:
    """A segment with one event a minute: eight of them are the least that has a spread or a shape."""
    rng = np.random.default_rng(7)
    column = numbers(rng.normal(size=(640, 1))) if kind == "numbers" else mixed(rng.choice(["NO", "SE"], size=(640, 1)).tolist())
    found = learned([*column])
    assert found.rollup_width == 8
    assert "scale" in found.baselines or kind == "categories"


def test_a_daily_cycle_is_not_taken_for_correlation() -> None:
    """Three days of ten-minute windows that swing by three deviations: the season explains it, and nothing has to be merged."""
    spec = ModelSpec("m", window_seconds=600.0)
    times = 600.0 * np.arange(432)
    swing = 3 * np.sin(2 * np.pi * times / 86_400)[:, None]
    column = numbers(np.random.default_rng(8).normal(size=(432, 30)) * 2 + swing)
    found = fed({"x": column}, spec).learn(spec)["x"]
    assert (found.rollup_width, found.baselines["location"].season.name) == (1, "daily")


def test_a_window_without_a_feature_says_that_it_was_missing() -> None:
    """In half of the windows there is none: half of the rows lacked it, window by window."""
    found = learned([feature if index % 2 else None for index, feature in enumerate(numbers(np.ones((40, 30))))])
    assert found.baselines["missing"].season.parameters == [pytest.approx(0.5)]
    assert found.baselines["missing"].windows == 40
    assert found.baselines["location"].windows == 20


def test_a_category_of_one_window_counts_as_unseen_there() -> None:
    """Ids are new in every window, so new ones are what is usual; names that come again are known."""
    ids = learned([*mixed([[f"{index}-{row}" for row in range(10)] for index in range(40)])])
    names = learned([*mixed([["a", "b"] * 5] * 40)])
    assert ids.baselines["unseen"].season.parameters == [1.0]
    assert names.baselines["unseen"].season.parameters == [0.0]


def test_too_few_windows_give_no_baseline() -> None:
    """A statistic that seven windows spoke of is not watched; those of all others are."""
    rng = np.random.default_rng(9)
    some = [feature if index < 7 else None for index, feature in enumerate(numbers(rng.normal(size=(40, 30))))]
    assert list(learned(some).baselines) == ["missing"]
