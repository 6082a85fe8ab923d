"""The benchmark of the budget: its streams are what they are said to be, and what it counts is what was told."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.budget.changes import APART_SECONDS, CHANGES, LAST_SECONDS, Injected, altering, schedule
from benchmarks.quality.budget.delays import Delays, delays, delays_of, median
from benchmarks.quality.budget.false_alarms import quiet
from benchmarks.quality.budget.kinds import KINDS, EventStream
from benchmarks.quality.budget.notifications import SORTS, Sort, notifications
from benchmarks.quality.budget.speed import speed
from benchmarks.quality.budget.trial import BEGIN, BudgetTrial, Size, features_of
from detectors.incidents.alert import Alert
from detectors.judging.verdict import Verdict
from detectors.reference.local_time import DAY_SECONDS, WEEK_SECONDS
from detectors.windows.sample import summarise

_FEATURES = 8
#: No divisor of a day, so that what is carried from one stretch to the next is in what is measured.
_STRETCH = 4321
_HOUR_WEEKS = 3600.0 / WEEK_SECONDS


def day(name: str, seed: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a day of a kind of stream, shape (features, events), and the times of its events."""
    stream = EventStream(name, _FEATURES, begin=BEGIN, seed=seed)
    lengths = [_STRETCH] * (int(DAY_SECONDS) // _STRETCH) + [int(DAY_SECONDS) % _STRETCH]
    values = np.concatenate([stream.draw(length) for length in lengths], axis=1)
    return values, BEGIN + np.arange(values.shape[1])


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_has_the_mean_spread_and_cycle_that_its_kind_says(name: str):
    """Over a whole day a cycle adds its own variance and nothing to the mean, and every feature has its amplitude."""
    kind = KINDS[name]
    values, times = day(name)
    amplitude = kind.amplitude * kind.sd + (0.5 * kind.mean if kind.multiplied else 0.0)
    square = (kind.sd**2 + kind.mean**2) * (1.125 if kind.multiplied else 1.0) + (kind.amplitude * kind.sd) ** 2 / 2
    # Of 700,000 events; those of AR 0.99 say as much as 3,500, those of t3 have no fourth moment.
    assert values.mean() == pytest.approx(kind.mean, abs=0.05 * kind.sd)
    assert values.std() == pytest.approx(math.sqrt(square - kind.mean**2), rel=0.05)
    found = 2 * np.abs((values * np.exp(2j * np.pi * times / DAY_SECONDS)).mean(axis=1))
    assert found == pytest.approx(np.full(_FEATURES, amplitude), abs=0.2 * kind.sd)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not (kind.amplitude or kind.multiplied)])
def test_an_event_is_correlated_with_the_next_one_as_its_kind_says_and_a_feature_with_no_other(name: str):
    """Correlation fades as that of an AR(1) process does, and features are independent."""
    values, _ = day(name)
    centred = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    for lag in (1, 10):
        found = (centred[:, lag:] * centred[:, :-lag]).mean()
        assert found == pytest.approx(KINDS[name].correlation ** lag, abs=0.02)
    others = np.corrcoef(values) - np.eye(_FEATURES)
    assert np.abs(others).max() < 5 * math.sqrt((1 + KINDS[name].correlation) / (1 - KINDS[name].correlation) / values.shape[1])


@pytest.mark.parametrize("name", ["AR 0.9", "AR 0.99"])
def test_correlation_does_not_end_with_a_stretch(name: str):
    """Between the last event of a stretch and the first of the next one the step is as small as any."""
    values, _ = day(name)
    borders = np.arange(_STRETCH, values.shape[1], _STRETCH)
    steps = np.square(values[:, borders] - values[:, borders - 1])  # 152 of them, so their mean is known to 11 %
    assert steps.mean() / 2 == pytest.approx(1 - KINDS[name].correlation, rel=0.4)


def test_a_weekend_has_a_quarter_of_a_working_day():
    """From Monday to Friday a cycle of one standard deviation rises from zero; on Saturday and Sunday a quarter of it does."""
    monday = BEGIN + 5 * DAY_SECONDS
    assert datetime.fromtimestamp(monday, UTC).strftime("%A") == "Monday"
    stream = EventStream("working days", 3, begin=monday, seed=2)
    days = [stream.draw(int(DAY_SECONDS)) for _ in range(8)]
    means = np.array([values.mean() for values in days])
    assert means == pytest.approx([1.0] * 5 + [0.25] * 2 + [1.0], abs=0.01)
    hours = days[0].reshape(3, 24, 3600).mean(axis=2)
    assert hours.min() == pytest.approx(0.0, abs=0.1)
    assert hours.max() == pytest.approx(2.0, abs=0.1)


def test_a_seed_draws_the_same_stream_again_and_another_one_for_each_kind():
    """Two runs of one seed are equal; two kinds with the same noise are not."""
    assert np.array_equal(day("AR 0.9")[0], day("AR 0.9")[0])
    assert not np.array_equal(day("gaussian")[0], day("gaussian", seed=2)[0])
    assert np.abs(np.corrcoef(day("gaussian")[0][0], day("daily")[0][0])[0, 1]) < 0.05


#: Change -> (mean, sd) of standard noise after it.
_AFTER = {
    "+0.1": (0.1, 1.0),
    "+0.25": (0.25, 1.0),
    "+0.5": (0.5, 1.0),
    "+1": (1.0, 1.0),
    "+2": (2.0, 1.0),
    "x1.25": (0.0, 1.25),
    "x1.5": (0.0, 1.5),
    "x2": (0.0, 2.0),
    "x0.5": (0.0, 0.5),
    "two humps": (0.0, 1.0),
    "30 % nulls": (0.0, 1.0),
    "+1 over 1 h": (5 / 6, math.sqrt(1 + (1 / 36 + 1 / 9) - 1 / 12)),
}


@pytest.mark.parametrize("kind", ["gaussian", "AR 0.9", "log-normal"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_moves_mean_and_spread_as_it_is_called(change: str, kind: str):
    """In units of the noise, whatever its kind, while it lasts and not before or after."""
    changed = Injected(1, change, BEGIN + 30.0, BEGIN + 30.0 + LAST_SECONDS)
    events = int(LAST_SECONDS) + 60
    plain = EventStream(kind, 200, begin=BEGIN, seed=4).draw(events)
    wanted = [Injected(feature, change, changed.at, changed.until) for feature in range(100)]
    values = EventStream(kind, 200, begin=BEGIN, seed=4).draw(events, altering(wanted, kind, 5))
    assert np.array_equal(values[100:], plain[100:])
    assert np.array_equal(values[:, :30], plain[:, :30])
    assert np.array_equal(values[:, -30:], plain[:, -30:])
    noise = (values[:100, 30:-30] - KINDS[kind].mean) / KINDS[kind].sd
    mean, sd = _AFTER[change]
    assert np.nanmean(noise) == pytest.approx(mean, abs=0.03)
    assert np.nanstd(noise) == pytest.approx(sd, rel=0.05)
    assert np.isnan(noise).mean() == pytest.approx(0.3 if change == "30 % nulls" else 0.0, abs=0.01)


def test_two_humps_leave_nothing_in_the_middle():
    """A third of a standard deviation about the mean has a quarter of the events before, and a tenth after."""
    row = EventStream("gaussian", 1, begin=BEGIN, seed=4).draw(100_000)
    before = (np.abs(row) < 1 / 3).mean()
    altering([Injected(0, "two humps", BEGIN, BEGIN + 100_000)], "gaussian", 5)(row, BEGIN + np.arange(100_000.0))
    assert before == pytest.approx(0.261, abs=0.01)
    assert (np.abs(row) < 1 / 3).mean() == pytest.approx(0.094, abs=0.01)


@given(features=st.integers(1, 200), seed=st.integers(0, 1000))
def test_each_feature_changes_once_and_few_at_a_time(features: int, seed: int):
    """Changes never begin with a window, and no more than thirteen last at a time."""
    injected = schedule(features, begin=BEGIN, window_seconds=60.0, seed=seed)
    assert [one.feature for one in injected] == list(range(features))
    for number, one in enumerate(injected):
        assert 0 < one.at - BEGIN - number * APART_SECONDS < 60
        assert (one.at - BEGIN) % 60
        assert sum(other.at <= one.at < other.until for other in injected) <= LAST_SECONDS / APART_SECONDS + 1


def verdict(feature: str, at: float) -> Verdict:
    """Return a verdict on a feature."""
    return Verdict(feature, "location", at - 60.0, at, 5.0, "mean up")


def test_a_delay_is_measured_from_the_change_to_the_end_of_the_window_that_told_it():
    """The first verdict on that feature counts, if it comes while the change lasts."""
    one, two, three = (Injected(feature, "+1", 1000.0 + feature, 2000.0) for feature in range(3))
    told = [
        verdict("f0", 960.0),  # before its change
        verdict("f0", 1140.0),
        verdict("f0", 1080.0),
        verdict("f1", 2040.0),  # when it was over
        verdict("f9", 1020.0),  # another feature
        verdict("f2", 2000.0),
    ]
    assert delays_of([one, two, three], told) == [80.0, None, 998.0]


@given(
    times=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 500)), max_size=12),
    later=st.integers(0, 10**6),
)
def test_delays_do_not_depend_on_when_it_all_happened(times: list[tuple[int, int]], later: int):
    """Changes and verdicts moved by the same time have the same delays, which are positive and no longer than the change."""
    injected = [Injected(feature, "+1", 100.0 + feature, 300.0 + feature) for feature in range(4)]
    moved = [Injected(one.feature, one.change, one.at + later, one.until + later) for one in injected]
    found = delays_of(injected, [verdict(f"f{feature}", float(at)) for feature, at in times])
    assert delays_of(moved, [verdict(f"f{feature}", float(at + later)) for feature, at in times]) == found
    assert all(delay is None or 0 < delay <= 200 for delay in found)
    for one, delay in zip(injected, found, strict=True):
        assert (delay is None) == (not any(feature == one.feature and one.at < at <= one.until for feature, at in times))


@given(st.lists(st.one_of(st.none(), st.floats(1, 1e4)), min_size=1, max_size=9))
def test_a_median_is_none_exactly_if_half_are_missed(found: list[float | None]):
    """What was missed is later than everything else, so it cannot make a median better."""
    middle = median(found)
    assert (middle is None) == (2 * sum(delay is None for delay in found) >= len(found))
    worse = median([*found[1:], None])
    assert worse is None or (middle is not None and worse >= middle)


def test_floors_are_what_alarms_that_know_nothing_reach():
    """They have to name the feature as well: as many at random as Driftline told find next to nothing."""
    measured = Delays("gaussian", 1000, {"+1": [60.0]}, alerted=1000, elsewhere=0, weeks=1.0, per_second=1.0)
    floors = measured.floors
    assert floors["never"].missed == 1.0
    assert floors["never"].alerted_per_week == 0.0
    assert (floors["every 3 h"].missed, floors["every 3 h"].median_s) == (0.0, 5400.0)
    assert floors["every 3 h"].alerted_per_week == 56_000.0
    assert floors["random"].missed == pytest.approx(math.exp(-3 / 168))
    assert floors["random"].median_s is None


def alert(sequence: int, status: Any, *verdicts: Verdict) -> Alert:
    """Return an alert about one incident."""
    raised = verdicts[-1].at
    return Alert(f"a{sequence}", "i", sequence, status, "drift", "warning", "budget", "", 0.0, raised, list(verdicts), "")


def test_a_verdict_counts_once_however_often_it_is_told():
    """Each alert of an incident tells all of its features, and its end none that is new."""
    trial = BudgetTrial(Size(2, 1.0).spec, 2)
    first, second, again = verdict("f0", 60.0), verdict("f1", 120.0), verdict("f0", 240.0)
    trial.alerts = [
        alert(0, "opened", first),
        alert(1, "updated", first, second),
        alert(2, "updated", again, second),
        alert(3, "resolved", verdict("f1", 300.0)),
    ]
    assert trial.verdicts == [first, second, again]
    assert len(trial.opened) == 1


def test_a_window_without_nulls_is_summarised_like_one_with_nulls():
    """Row by row, with what is missing counted, and a row of nulls alone has no numbers."""
    values = np.random.default_rng(3).normal(size=(4, 60))
    whole = features_of(values)
    assert [one.numeric for one in whole] == [summarise(row) for row in values]
    values[1, ::3] = np.nan
    values[2] = np.nan
    found = features_of(values)
    assert [one.missing for one in found] == [0, 20, 60, 0]
    assert found[2].numeric is None
    assert found[1].numeric == summarise(values[1, ~np.isnan(values[1])])
    assert (found[0], found[3]) == (whole[0], whole[3])


_SMALL = Size(12, weeks=6 * _HOUR_WEEKS, reference_seconds=6 * 3600.0)


def test_a_quiet_stream_is_judged_for_as_long_as_is_said():
    """Windows behind the reference are judged, all features of each, and only they are timed."""
    trial = BudgetTrial(_SMALL.spec, _SMALL.features)
    shares: list[float] = []
    stream = EventStream("gaussian", _SMALL.features, begin=BEGIN, seed=1)
    trial.run(stream, until=_SMALL.counted_from + _SMALL.week_seconds, tick=shares.append)
    assert trial.judged == 12 * 6 * 60
    assert trial.cpu_seconds > 0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    found = quiet("gaussian", _SMALL, seed=1)
    assert (found.opened, found.alerted) == (len(trial.opened), len(trial.verdicts))


def test_large_changes_are_told_with_their_delay_and_counted_by_sort():
    """Every sort of change is made once in twelve features, and two standard deviations are told within ten minutes."""
    found = delays("gaussian", _SMALL, seed=2)
    assert {change: len(every) for change, every in found.found.items()} == dict.fromkeys(CHANGES, 1)
    delay = found.median("+2")
    assert delay is not None
    assert 0 < delay <= 600
    assert found.missed("+2") == 0.0
    caught = sum(delay is not None for every in found.found.values() for delay in every)
    assert found.alerted == caught + found.elsewhere


@pytest.mark.parametrize("sort", SORTS)
def test_an_incident_touches_its_share_of_the_features(sort: Sort):
    """Two of fourteen features change at one moment, and what is told of them is one incident at least."""
    found = notifications(sort, Size(14, 1.0, reference_seconds=3 * 3600.0), seed=1)
    assert found.touched == 2
    assert 1 <= found.alerted <= 2
    assert found.count >= 1


def test_speed_is_that_of_windows_judged():
    """Three hours of every feature."""
    found = speed(Size(3, 1.0, reference_seconds=2 * 3600.0), seed=1)
    assert found.judged == 3 * 180
    assert found.per_second > 0
