"""What changed together is named together, once somebody is called, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from detectors.judging.codrift import drifted_together, passed
from detectors.judging.monitors import Monitors, Raised
from detectors.judging.shares import share_budget
from detectors.judging.verdict import Verdict
from detectors.learning.learner import Learner
from detectors.model.finding import Finding
from detectors.reference.baseline import Baseline
from detectors.reference.season import Season
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.statistics import STATISTICS, place_of
from tests.support.simulated import alerts, history, numbers, watched, window

pytestmark = pytest.mark.fast

SPEC = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=80 * 60.0, min_windows=24))
#: How many there are, and the window in which some of them change.
FEATURES, CHANGE = 200, 90


def found(shift: float, features: int, *, windows: int = 120, lead: float = 0.0) -> list[Finding]:
    """Return what is found when the first of two hundred features move up by so many deviations of a value, and the last one."""
    values = np.random.default_rng(1).normal(size=(FEATURES, windows, 20))
    values[:features, CHANGE:] += shift
    values[-1, CHANGE:] += lead
    columns = {f"f{feature}": numbers(one) for feature, one in enumerate(values)}
    return watched(SPEC, history(SPEC, columns))[1]


@pytest.mark.slow
def test_features_that_change_together_are_named_in_one_alert() -> None:
    """Thirty of two hundred: whoever is called for the first reads all of them, and none that did not change."""
    told = found(0.7, 30)
    (opened,) = alerts(told)
    named = {verdict.feature for verdict in opened.features}
    assert len(named) >= 27
    assert named <= {f"f{feature}" for feature in range(30)}
    assert all(abs(verdict.began_at - CHANGE * 60.0) <= 10 * 60.0 for verdict in opened.features)
    updated = {verdict.feature for alert in alerts(told, "updated") for verdict in alert.features}
    assert updated <= {f"f{feature}" for feature in range(30)}
    assert opened.severity == "warning"


@pytest.mark.slow
def test_nothing_is_named_without_an_alarm() -> None:
    """What would be named beside an alarm stays untold without one, however many features show it at once."""
    assert alerts(found(0.7, 30, windows=CHANGE + 5)) == []
    (opened,) = alerts(found(0.7, 30, windows=CHANGE + 5, lead=1.3))
    named = {verdict.feature for verdict in opened.features}
    assert f"f{FEATURES - 1}" in named
    assert len(named) > 15
    assert named <= {f"f{feature}" for feature in (*range(30), FEATURES - 1)}


@pytest.mark.slow
def test_one_change_names_nobody_else() -> None:
    """A feature alone is told alone: what the others show by chance is not enough among so many."""
    (opened,) = alerts(found(1.5, 1))
    assert [verdict.feature for verdict in opened.features] == ["f0"]


def test_a_feature_of_wider_windows_is_named_by_the_latest_of_them() -> None:
    """Six features have one value a window; the alarm of another comes between two of their windows, and all are told in it."""
    rng = np.random.default_rng(3)
    values = [rng.normal(size=(658, 20 if feature < 6 else 1)) for feature in range(12)]
    for feature, one in enumerate(values):
        one[640:] += 0.33 if feature < 6 else 2.5
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=600 * 60.0, min_windows=24))
    monitor, told = watched(spec, history(spec, {f"f{feature:02}": numbers(one) for feature, one in enumerate(values)}))
    assert monitor.channels["features"].judges[""].rollup.rollup_widths.tolist() == [1.0] * 6 + [8.0] * 6
    last = alerts(told, "updated")[-1]
    wide = [verdict for verdict in last.features if verdict.feature >= "f06"]
    assert len(wide) == 6
    assert {verdict.at for verdict in wide} == {last.raised_at}
    assert last.raised_at % 480.0 != 0.0
    for verdict in wide:
        assert verdict.began_at % 480.0 == 0.0
        assert verdict.words.startswith("mean up 2."), "of eight values, not of the one of the last minute"
        assert verdict.score > 4.0


@pytest.mark.parametrize(("buckets", "told"), [(range(90, 96), ["y", "x"]), ([90, 91, 92, 93, 94, 120], ["y"])])
def test_the_alarm_of_a_wider_window_names_what_is_judged_in_each(buckets: Sequence[int], told: list[str]) -> None:
    """Features of narrow windows had their scores in the same bucket; after a gap these are of another time."""
    spec = ModelSpec("m", window_seconds=60.0, reference=SPEC.reference)
    rng = np.random.default_rng(5)
    monitor, _ = watched(spec, history(spec, {name: numbers(rng.normal(size=(90, 30))) for name in "xyz"}))
    judge = monitor.channels["features"].judges[""]
    wide = Learner(240.0, ["y"])
    for index, feature in enumerate(numbers(rng.normal(size=(100, 120)))):
        wide.add(spec, index * 240.0, [window(spec, index * 240.0, {"y": feature}, rows=120)])
    judge.adopt({"y": msgspec.structs.replace(wide.learn(spec)["y"], rollup_width=4)})
    share_budget(spec, [judge], share=1.0)
    location = place_of("location")
    judge.monitors.rise[location, 0], judge.monitors.rise_began[location, 0] = 11.0, 88 * 60.0
    judge.monitors.rise_windows[location, 0] = 2.0
    later = {"x": rng.normal(size=(6, 30)) + 0.1, "y": rng.normal(size=(6, 30)) + 3.0, "z": rng.normal(size=(6, 30))}
    found: list[Verdict] = []
    for place, held in zip(buckets, zip(*(numbers(one) for one in later.values()), strict=True), strict=True):
        found += judge.weigh(place * 60.0, [window(spec, place * 60.0, dict(zip(later, held, strict=True)), rows=30)]).verdicts
    named = {verdict.feature: verdict for verdict in found}
    assert list(named) == told
    assert {verdict.at for verdict in found} == {96 * 60.0}
    assert "x" not in named or named["x"].began_at == 88 * 60.0


def monitored(rises: list[float], *, began: float = 540.0, up: bool = False) -> tuple[Monitors, np.ndarray]:
    """Return monitors of one statistic whose CUSUMs of rises stand so high, and the scores of a window."""
    monitors = Monitors.empty("page_hinkley", "up" if up else "both", 60.0)
    monitors.widen(len(rises))
    monitors.threshold = 10.0
    season = Season("constant", 60.0, [0.0])
    for column, rise in enumerate(rises):
        monitors.set((0, column), Baseline(season, 1.0, 0.0, 0.0, 0.0, 1.0, 100, 0.0, 0.0))
        monitors.rise[0, column], monitors.rise_began[0, column], monitors.rise_windows[0, column] = rise, began, 5.0
    scores = np.full((len(STATISTICS), len(rises)), np.nan)
    scores[0] = 2.0
    return monitors, scores


def alarm(monitors: Monitors, scores: np.ndarray, column: int = 0) -> list[Raised]:
    """Let a feature have raised an alarm for a change that began at 600 s, and return the others that are named."""
    monitors.recovery.fired[0, column] = True
    monitors.previous = np.nan_to_num(scores)
    widths = np.full(scores.shape[1], 60.0)
    return drifted_together(monitors, [Raised((0, column), 5.0, 600.0)], ~np.isnan(scores), 60.0, widths=widths)


def test_features_that_drifted_together_have_fired_and_are_dated() -> None:
    """They are as silent as those that raised their own alarm, their strongest statistic is told, and where each began."""
    monitors, scores = monitored([20.0, 9.5, 9.0, 1.0])
    monitors.set((2, 1), Baseline(Season("constant", 60.0, [0.0]), 1.0, 0.0, 0.0, 0.0, 1.0, 100, 0.0, 0.0))
    monitors.rise[2, 1], scores[2, 1] = 5.0, 1.0
    others = alarm(monitors, scores)
    assert others == [Raised((0, 1), 2.0, 540.0), Raised((0, 2), 2.0, 540.0)]
    assert np.argwhere(monitors.recovery.fired).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert np.all(monitors.recovery.shift[0, 1:3] > 0)
    assert alarm(monitors, scores) == [], "they are named once"


@pytest.mark.parametrize(("began", "named"), [(-1.0, False), (0.0, True), (540.0, True), (900.0, True)])
def test_a_change_of_long_before_is_another_one(began: float, *, named: bool) -> None:
    """Ten windows before the alarm's own change and no earlier, which is what an incident takes in."""
    monitors, scores = monitored([20.0, 9.5], began=began)
    assert bool(alarm(monitors, scores)) == named


def test_a_change_may_begin_anywhere_in_a_wider_window() -> None:
    """One of eight minutes that ends after the first moment of the ten windows may hold it, one that ends before does not."""
    for began, named in ((-420.0, True), (-421.0, False)):
        monitors, scores = monitored([20.0, 9.5], began=began)
        monitors.previous = scores
        widths = np.array([60.0, 480.0])
        assert bool(drifted_together(monitors, [Raised((0, 0), 5.0, 600.0)], ~np.isnan(scores), 60.0, widths=widths)) == named


def test_falls_are_named_where_they_alarm() -> None:
    """Of a statistic that alarms upwards a fall is no evidence; of one that alarms both ways it is, with its sign."""
    for up in (False, True):
        monitors, scores = monitored([20.0, 0.0], up=up)
        monitors.fall[0, 1], monitors.fall_began[0, 1], monitors.fall_windows[0, 1] = 9.5, 540.0, 5.0
        others = alarm(monitors, scores)
        assert [one.cell for one in others] == ([] if up else [(0, 1)])
        assert up or monitors.recovery.shift[0, 1] < 0


def test_only_what_its_latest_window_speaks_of_is_named() -> None:
    """A statistic that the latest window of its feature says nothing about is not told."""
    monitors, scores = monitored([20.0, 9.5, 9.5])
    scores[0, 2] = np.nan
    assert [one.cell for one in alarm(monitors, scores)] == [(0, 1)]


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=60))
def test_passed_is_benjamini_and_hochbergs_procedure(chances: list[float]) -> None:
    """As SciPy adjusts them: those pass whose adjusted chance is at most one in a hundred."""
    adjusted = false_discovery_control(chances, method="bh")
    near = np.isclose(adjusted, 0.01, rtol=1e-9)
    assert np.all((passed(np.array(chances)) == (adjusted <= 0.01)) | near)


def test_of_what_passes_about_one_in_a_hundred_is_wrong() -> None:
    """Thirty true changes among two hundred features, a thousand times: the share of wrong names keeps to what is promised."""
    rng = np.random.default_rng(2)
    wrong = []
    for _ in range(1000):
        chances = rng.random(200)
        chances[:30] **= 12
        told = passed(chances)
        wrong.append(told[30:].sum() / max(1, told.sum()))
    assert np.mean(wrong) < 0.0125
