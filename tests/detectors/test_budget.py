"""The false-alarm budget: thresholds follow from it, stationary streams keep it, real changes still come through.

Streams are seeded, so a test here says the same in every run. Budgets are generous (hundreds of alarms a
week), because only then is silence over some hundred windows evidence of anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm

from detectors.incidents.alert import Alert
from detectors.judging.budget import ALLOWANCE, SHARE, fast_limit, run_length, threshold
from detectors.judging.detectors import Arming, arm
from detectors.model.finding import Finding
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, OutlierSpec, ReferenceSpec
from detectors.windows.feature import Feature
from tests.support.simulated import alerts, history, mixed, numbers, watched

Floats = np.ndarray


def spec(*, budget: float, reference_windows: int, seconds: float = 60.0) -> ModelSpec:
    """Return a model with that budget and reference."""
    return ModelSpec(
        "m",
        window_seconds=seconds,
        false_alarms_per_week=budget,
        reference=ReferenceSpec(seconds=reference_windows * seconds, min_windows=24),
    )


@pytest.mark.parametrize("height", [3.5])
def test_siegmund_agrees_with_simulation(height: float) -> None:
    """River's Page-Hinkley on white Gaussian scores alarms about as often as the formula says, from both sides together."""
    rng = np.random.default_rng(1)
    runs = []
    for _ in range(300):
        detector = arm("page_hinkley", Arming("x", height, 10_000, "both"))
        count = next(index for index in range(1, 100_000) if detector.update(float(rng.normal())))
        runs.append(count)
    assert np.mean(runs) == pytest.approx(run_length(height) / 2, rel=0.2)


@given(st.floats(0.01, 1000), st.floats(0.001, 604_800), st.floats(0.0, 1e7), st.floats(0.0, 100.0))
def test_more_monitors_need_higher_limits(budget: float, seconds: float, sides: float, more: float) -> None:
    """Threshold and limit of the fast path grow with the sides that share a budget and fall with it; they are finite for any."""
    for limit in (threshold, fast_limit):
        one = limit(false_alarms_per_week=budget, window_seconds=seconds, sides=sides)
        assert 0 <= one < 200
        assert limit(false_alarms_per_week=budget, window_seconds=seconds, sides=sides + more) >= one
        assert limit(false_alarms_per_week=2 * budget, window_seconds=seconds, sides=sides) <= one


def test_the_shares_add_up_to_the_budget() -> None:
    """Sides x windows a week / run length is the one half of the budget; sides x the chance of two far windows is the other."""
    height = threshold(false_alarms_per_week=2.0, window_seconds=60.0, sides=600)
    assert 600 * (WEEK_SECONDS / 60) / run_length(height) == pytest.approx(2.0 * SHARE)
    beyond = fast_limit(false_alarms_per_week=2.0, window_seconds=60.0, sides=600)
    assert 600 * (WEEK_SECONDS / 60) * norm.sf(beyond) ** 2 == pytest.approx(2.0 * (1 - SHARE))


def gaussian(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """Independent standard values."""
    return rng.normal(size=(windows, events))


def log_normal(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """A long right tail."""
    return rng.lognormal(size=(windows, events))


def student(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """Heavy tails on both sides."""
    return rng.standard_t(3, size=(windows, events))


def poisson(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """Small counts, most of them zero."""
    return rng.poisson(0.5, size=(windows, events))


def rare(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """A flag that one event in fifty has."""
    return (rng.random((windows, events)) < 0.02) * 1.0


def correlated(rng: np.random.Generator, windows: int, events: int) -> Floats:
    """Each event much like the one before: AR(1) with 0.95."""
    noise = rng.normal(size=windows * events + 500) * math.sqrt(1 - 0.95**2)
    return np.asarray(lfilter([1.0], [1.0, -0.95], noise))[500:].reshape(windows, events)


STATIONARY: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "gaussian": gaussian,
    "log-normal": log_normal,
    "student": student,
    "poisson": poisson,
    "rare": rare,
    "correlated": correlated,
}


def verdicts(findings: list[Finding]) -> int:
    """Return how many features were told of, also of those that joined an incident: incidents would hide some."""
    told = [found for found in findings if isinstance(found, Alert) and found.status != "resolved"]
    return len({(alert.incident, verdict.feature) for alert in told for verdict in alert.features})


@pytest.mark.parametrize("name", STATIONARY)
@pytest.mark.parametrize("reference_windows", [30, 200])
def test_a_stationary_stream_keeps_the_budget(name: str, reference_windows: int) -> None:
    """12 features over 500 windows alarm no more often than the budget allows for that time, after a short reference too."""
    rng = np.random.default_rng(2)
    model = spec(budget=1000.0, reference_windows=reference_windows)
    columns = {f"f{index}": numbers(STATIONARY[name](rng, reference_windows + 500, 30)) for index in range(12)}
    allowed = 1000.0 * 500 * 60 / WEEK_SECONDS
    assert verdicts(watched(model, history(model, columns))[1]) <= allowed


@pytest.mark.parametrize("rate", [0.0005, 0.002, 0.01, 0.2])
def test_nulls_of_any_rate_keep_the_budget(rate: float) -> None:
    """Nulls too rare to be in the reference, and common ones: about as many as ever is no news."""
    rng = np.random.default_rng(3)
    model = spec(budget=1000.0, reference_windows=200)
    columns = {f"f{index}": mixed(np.where(rng.random((700, 30)) < rate, None, "a").tolist()) for index in range(15)}
    assert verdicts(watched(model, history(model, columns))[1]) <= 1000.0 * 500 * 60 / WEEK_SECONDS


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_a_long_tail_of_categories_keeps_the_budget(exponent: float) -> None:
    """Where new categories always came, new ones are expected at the rate at which they came."""
    rng = np.random.default_rng(4)
    model = spec(budget=1000.0, reference_windows=200)
    columns = {
        f"f{index}": mixed([[f"c{value}" for value in row] for row in rng.zipf(exponent, size=(600, 30)).tolist()])
        for index in range(8)
    }
    assert verdicts(watched(model, history(model, columns))[1]) <= 1000.0 * 400 * 60 / WEEK_SECONDS


@pytest.mark.parametrize("amplitude", [1.0, 3.0])
def test_a_daily_cycle_keeps_the_budget(amplitude: float) -> None:
    """Three days of reference, then four more days of the same cycle: within the budget, with room to spare."""
    rng = np.random.default_rng(5)
    seconds = 1200.0
    model = spec(budget=100.0, reference_windows=72 * 3, seconds=seconds)
    windows = 72 * 7
    cycle = amplitude * np.sin(2 * np.pi * seconds * np.arange(windows) / 86_400.0)[:, None]
    columns = {f"f{index}": numbers(rng.normal(size=(windows, 30)) + cycle) for index in range(10)}
    assert verdicts(watched(model, history(model, columns))[1]) <= 100.0 * 4 / 7


def test_traffic_that_changes_keeps_the_budget() -> None:
    """Five events in one window, five hundred in the next stretch: the number of events is not the data."""
    rng = np.random.default_rng(6)
    model = spec(budget=1000.0, reference_windows=200)
    columns: dict[str, list[Feature]] = {f"f{index}": [] for index in range(10)}
    for index in range(500):
        events = 5 if index % 100 < 50 else 500
        for column in columns.values():
            column.extend(numbers(rng.normal(size=(1, events))))
    assert verdicts(watched(model, history(model, columns))[1]) <= 1000.0 * 300 * 60 / WEEK_SECONDS


ONE_A_WEEK = ModelSpec(
    "m",
    window_seconds=60.0,
    false_alarms_per_week=1.0,
    reference=ReferenceSpec(seconds=200 * 60.0, min_windows=24),
    outliers=OutlierSpec(distance=6.0),
)
CHANGES: dict[str, tuple[str, str, int]] = {
    "mean": ("location", "mean up", 4),
    "spread": ("scale", "spread x", 4),
    "nulls": ("missing", "null", 5),
    "new category": ("unseen", "new categories", 6),
    "shares": ("shares", "share of", 6),
    "far values": ("outliers", "far outside", 8),
}


def changed(name: str, rng: np.random.Generator, windows: int, begin: int) -> list[Feature]:
    """Return a column of 60 events a window in which something changes at window `begin`."""
    after = (np.arange(windows) >= begin)[:, None]
    noise = rng.normal(size=(windows, 60))
    chance = rng.random((windows, 60))
    match name:
        case "mean":
            return numbers(noise + after)
        case "spread":
            return numbers(noise * np.where(after, 2, 1))
        case "nulls":
            return mixed(np.where(after & (chance < 0.3), None, noise).tolist())
        case "new category":
            return mixed(np.where(after & (chance < 0.2), "XK", np.where(noise > 0, "NO", "SE")).tolist())
        case "shares":
            return mixed(np.where(noise > np.where(after, -0.6, 0.3), "NO", "SE").tolist())
        case _:
            return numbers(np.where(after & (chance < 0.15), 100.0, noise))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_dated_and_named(name: str) -> None:
    """With one false alarm a week for 20 features, each change is told within a few windows, once, with its begin."""
    statistic, words, within = CHANGES[name]
    rng = np.random.default_rng(7)
    columns = {f"f{index}": numbers(rng.normal(size=(260, 60))) for index in range(19)}
    columns["it"] = changed(name, rng, 260, 230)
    (alert,) = alerts(watched(ONE_A_WEEK, history(ONE_A_WEEK, columns))[1])
    (verdict,) = alert.features
    assert verdict.feature == "it"
    assert abs(alert.began_at - 230 * 60.0) <= 3 * 60.0
    assert alert.raised_at <= (230 + within) * 60.0
    assert verdict.statistic == statistic
    assert words in verdict.words


@pytest.mark.parametrize(("shift", "within"), [(0.25, 25), (0.5, 10), (2.0, 3)])
def test_small_shifts_take_longer(shift: float, within: int) -> None:
    """A shift of a quarter of a deviation is found too, in time."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(300, 60))
    values[230:] += shift
    (alert,) = alerts(watched(ONE_A_WEEK, history(ONE_A_WEEK, {"x": numbers(values)}))[1])
    assert alert.raised_at <= (230 + within) * 60.0


def test_one_wild_window_pages_nobody() -> None:
    """A single window, however extreme, is not enough; a second one like it is."""
    rng = np.random.default_rng(9)
    for wild, expected in ((1, 0), (2, 1)):
        values = rng.normal(size=(260, 60))
        values[230 : 230 + wild] += 1000
        assert len(alerts(watched(ONE_A_WEEK, history(ONE_A_WEEK, {"x": numbers(values)}))[1])) == expected


def test_the_allowance_is_half_of_the_shift_to_find_best() -> None:
    """Scores that stay below the allowance never add up, however long they last."""
    detector = arm("page_hinkley", Arming("x", 10.0, 1000, "both"))
    assert not any(detector.update(ALLOWANCE * 0.9) for _ in range(5000))
