"""The contract that every detector in the table must pass, whatever River does inside."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from detectors.baseline import Baseline
from detectors.detector import DETECTORS, REFUSED, Armed, Arming, Direction, arm
from detectors.monitor import Monitor
from detectors.season import Season
from detectors.statistic import Measure

#: Most alarms on 3,000 stationary values: none where the threshold follows from a budget. The others
#: are as River gives them; this states what to expect of their defaults.
EXPECTED = {
    "page_hinkley": 0,
    "adwin": 2,
    "kswin": 12,
    "ddm": 2,
    "eddm": 15,
    "hddm_a": 3,
    "hddm_w": 6,
    "fhddm": 2,
}


def armed(name: str, direction: Direction = "both") -> Armed:
    """Return a detector as a monitor with 200 reference windows gets it."""
    return arm(name, Arming("x/location", 12.0, 200, direction))


def stationary(name: str, size: int, seed: int = 1) -> list[float]:
    """Return what that detector is fed while nothing changes: scores, or one error in ten."""
    rng = np.random.default_rng(seed)
    if DETECTORS[name].feed == "scores":
        return [float(value) for value in rng.normal(size=size)]
    return [int(value) for value in rng.random(size) < 0.1]


def changed(name: str, size: int, seed: int = 2) -> list[float]:
    """Return what it is fed after a large change: scores around four, or six errors in ten."""
    rng = np.random.default_rng(seed)
    if DETECTORS[name].feed == "scores":
        return [float(value) + 4 for value in rng.normal(size=size)]
    return [int(value) for value in rng.random(size) < 0.6]


def test_every_name_has_an_expectation() -> None:
    """A detector that is added to the table is added to this contract; what is refused is not in it."""
    assert set(EXPECTED) == set(DETECTORS)
    assert not set(REFUSED) & set(DETECTORS)
    assert [name for name, kind in DETECTORS.items() if kind.budgeted] == ["page_hinkley"]


@pytest.mark.parametrize("name", DETECTORS)
def test_it_is_quiet_on_a_stationary_stream(name: str) -> None:
    """It alarms no more often than stated."""
    detector = armed(name)
    assert sum(detector.update(value) for value in stationary(name, 3000)) <= EXPECTED[name]


@pytest.mark.parametrize("name", DETECTORS)
def test_it_finds_a_large_change(name: str) -> None:
    """After 600 quiet values a large change is found within 60 more."""
    detector = armed(name)
    for value in stationary(name, 600):
        detector.update(value)
    assert any(detector.update(value) for value in changed(name, 60))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("cut", [0, 150, 599, 610])
def test_a_copy_says_the_same(name: str, cut: int) -> None:
    """Stored and loaded in the middle, it gives the very same verdicts as one that went on."""
    values = stationary(name, 600) + changed(name, 100)
    detector = armed(name)
    for value in values[:cut]:
        detector.update(value)
    copy = Armed(pickle.loads(pickle.dumps(detector.river, protocol=5)))
    assert [copy.update(value) for value in values[cut:]] == [detector.update(value) for value in values[cut:]]


@pytest.mark.parametrize("name", DETECTORS)
def test_two_runs_are_the_same(name: str) -> None:
    """Nothing draws without a seed; the seed is the monitor's name."""
    values = stationary(name, 600, seed=3) + changed(name, 100)
    one, other = armed(name), armed(name)
    assert [one.update(value) for value in values] == [other.update(value) for value in values]


@pytest.mark.parametrize("name", DETECTORS)
def test_it_survives_extremes(name: str) -> None:
    """The largest scores a monitor lets through, long constant runs and only errors raise no exception."""
    detector = armed(name)
    extremes = [6.5, -6.5, 0.0, -0.0, 5e-324] if DETECTORS[name].feed == "scores" else [1, 0, 1, 1, 1]
    for value in [*extremes * 20, *[extremes[0]] * 200, *[0] * 200]:
        assert detector.update(value) in (True, False)


@pytest.mark.parametrize("name", DETECTORS)
def test_its_memory_is_bounded(name: str) -> None:
    """Eight times the values make it no more than a little larger."""
    detector = armed(name)
    sizes = []
    for size in (500, 3500):
        for value in stationary(name, size):
            detector.update(value)
        sizes.append(len(pickle.dumps(detector.river, protocol=5)))
    assert sizes[1] < 2 * sizes[0] + 2000


def monitor(name: str, direction: Direction = "both", *, correlation: float = 0.0) -> Monitor:
    """Return an armed monitor of a statistic that is standard normal while nothing changes."""
    baseline = Baseline(Season("constant", 60.0, [0.0]), 1.0, 0.0, 0.0, correlation, 1.0, 200, 0.0, -60.0)
    found = Monitor("x", "location", name, direction, baseline)
    found.take(12.0)
    return found


def weigh(found: Monitor, values: list[float], *, begin: int = 0) -> list[tuple[int, float]]:
    """Return (index of the window, begin of the change) of each alarm."""
    told = []
    for index, value in enumerate(values, begin):
        errors = (round(max(0.0, min(1.0, value)) * 50), 50) if DETECTORS[found.detector].feed == "outcomes" else None
        alarm = found.weigh(start=60.0 * index, local=60.0 * index, found=Measure(value, 1.0, 50), errors=errors)
        if alarm is not None:
            told.append((index, alarm[1]))
    return told


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("strange", [1e308, -1e308, 1e-308])
def test_a_monitor_survives_any_statistic(name: str, strange: float) -> None:
    """A single absurd window raises nothing and pages nobody by itself with a budgeted detector."""
    found = monitor(name)
    weigh(found, stationary("page_hinkley", 100))
    alarms = weigh(found, [strange], begin=100)
    assert not (DETECTORS[name].budgeted and alarms)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_monitor_leaves_its_input_alone(name: str) -> None:
    """The statistic handed in is the same afterwards."""
    measured = Measure(0.5, 1.0, 50)
    monitor(name).weigh(start=0.0, local=0.0, found=measured, errors=(5, 50))
    assert measured == Measure(0.5, 1.0, 50)


@pytest.mark.parametrize("name", [name for name in DETECTORS if EXPECTED[name] < 15])  # EDDM alarms anyway
def test_an_improvement_wakes_nobody(name: str) -> None:
    """Watched upwards only, as errors are, a long fall is no alarm, and the rise that ends it is told soon."""
    outcomes = DETECTORS[name].feed == "outcomes"
    usual, better, worse = (0.3, 0.04, 0.8) if outcomes else (0.0, -5.0, 6.0)
    noise = [float(value) * (0.02 if outcomes else 1.0) for value in np.random.default_rng(4).normal(size=300)]
    found = monitor(name, "up")
    assert weigh(found, [usual + value for value in noise[:100]]) == []
    assert weigh(found, [better + value for value in noise[100:200]], begin=100) == []
    ((index, began),) = weigh(found, [worse + value for value in noise[200:]], begin=200)
    assert 200 * 60.0 <= began <= index * 60.0
    assert index < (210 if name == "page_hinkley" else 300)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_alarm_is_dated_and_silent_while_it_lasts(sign: float) -> None:
    """One alarm for one change, from the window in which it began; the other side counts as well."""
    found = monitor("page_hinkley")
    quiet = stationary("page_hinkley", 300)
    weigh(found, quiet)
    ((index, began),) = weigh(found, [sign * 2 + value for value in stationary("page_hinkley", 500, seed=5)], begin=300)
    assert index < 320
    assert abs(began - 300 * 60.0) <= 3 * 60.0
    assert found.fired
    assert found.shift * sign > 0


@pytest.mark.parametrize("shift", [0.8, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_what_lasts_is_not_taken_for_recovered(shift: float, correlation: float) -> None:
    """While a shift lasts, weak or strong, its monitor does not recover in a thousand windows; when it ends, it does."""
    found = monitor("page_hinkley", correlation=correlation)
    found.baseline.spread = (1 - correlation**2) ** 0.5
    rng = np.random.default_rng(6)
    value, series = 0.0, []
    for _ in range(1800):
        value = correlation * value + float(rng.normal()) * (1 - correlation**2) ** 0.5
        series.append(value)
    size = shift / (1 - correlation) * (1 - correlation**2) ** 0.5  # as much evidence in each window
    assert weigh(found, series[:200]) == []
    recovered = False
    for index in range(200, 1300):
        weigh(found, [series[index] + size], begin=index)
        recovered |= found.recovered
    assert found.fired
    assert not recovered
    weigh(found, series[1300:1500], begin=1300)
    assert found.recovered


def test_recovery_takes_a_while() -> None:
    """A change that ends is over after six calm windows, not after one, and the monitor can alarm again."""
    found = monitor("page_hinkley")
    weigh(found, [0.0] * 20)
    weigh(found, [6.0] * 10, begin=20)
    weigh(found, [0.0] * 5, begin=30)
    assert not found.recovered
    weigh(found, [0.0], begin=35)
    assert found.recovered
    found.rearm()
    assert len(weigh(found, [6.0] * 10, begin=36)) == 1


def test_another_detector_takes_over_what_is_open() -> None:
    """A monitor that fired and gets another detector still knows its shift, and recovers when that ends."""
    found = monitor("page_hinkley")
    weigh(found, [0.0] * 20 + [6.0] * 10)
    found.exchange("adwin")
    weigh(found, [6.0] * 10, begin=30)
    assert (found.fired, found.recovered) == (True, False)
    weigh(found, [0.0] * 6, begin=40)
    assert found.recovered


def test_the_other_extreme_is_no_recovery() -> None:
    """A statistic that goes from far above to far below is not back."""
    found = monitor("page_hinkley")
    weigh(found, [0.0] * 20 + [6.0] * 10 + [-6.0] * 50)
    assert found.fired
    assert not found.recovered
