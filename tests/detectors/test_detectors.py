"""The contract that every detector in the table must pass, whatever River does inside."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from detectors.judging.detectors import DETECTORS, REFUSED, Armed, Arming, Direction, arm
from detectors.judging.scores import Moment
from detectors.statistics import STATISTICS, UPWARDS, StatisticName, place_of
from tests.support.monitored import PLACE, SECONDS, loaded, measured, monitors, stored, weigh

pytestmark = pytest.mark.fast

#: KSWIN sorts its whole window for every value.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "kswin" else name for name in DETECTORS]

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


@pytest.mark.parametrize("name", NAMES)
def test_it_is_quiet_on_a_stationary_stream(name: str) -> None:
    """It alarms no more often than stated."""
    detector = armed(name)
    assert sum(detector.update(value) for value in stationary(name, 3000)) <= EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_a_large_change(name: str) -> None:
    """After 600 quiet values a large change is found within 60 more."""
    detector = armed(name)
    for value in stationary(name, 600):
        detector.update(value)
    assert any(detector.update(value) for value in changed(name, 60))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [0, 150, 599, 610])
def test_a_copy_says_the_same(name: str, cut: int) -> None:
    """Stored and loaded in the middle, it gives the very same verdicts as one that went on."""
    values = stationary(name, 600) + changed(name, 100)
    detector = armed(name)
    for value in values[:cut]:
        detector.update(value)
    again = Armed(pickle.loads(pickle.dumps(detector.river, protocol=5)))
    assert [again.update(value) for value in values[cut:]] == [detector.update(value) for value in values[cut:]]


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_the_same(name: str) -> None:
    """Nothing draws without a seed; the seed is the monitor's name."""
    values = stationary(name, 600, seed=3) + changed(name, 100)
    one, other = armed(name), armed(name)
    assert [one.update(value) for value in values] == [other.update(value) for value in values]


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_extremes(name: str) -> None:
    """The largest scores a monitor lets through, long constant runs and only errors raise no exception."""
    detector = armed(name)
    extremes = [6.5, -6.5, 0.0, -0.0, 5e-324] if DETECTORS[name].feed == "scores" else [1, 0, 1, 1, 1]
    for value in [*extremes * 20, *[extremes[0]] * 200, *[0] * 200]:
        assert detector.update(value) in (True, False)


@pytest.mark.parametrize("name", NAMES)
def test_its_memory_is_bounded(name: str) -> None:
    """Eight times the values make it no more than a little larger."""
    detector = armed(name)
    sizes = []
    for size in (500, 3500):
        for value in stationary(name, size):
            detector.update(value)
        sizes.append(len(pickle.dumps(detector.river, protocol=5)))
    assert sizes[1] < 2 * sizes[0] + 2000


def usual(name: str, size: int, seed: int = 1) -> list[float]:
    """Return what a monitor with that detector is fed while nothing changes: scores, or about one error in three."""
    noise = np.random.default_rng(seed).normal(size=size)
    return [float(value) for value in (0.3 + 0.02 * noise if DETECTORS[name].feed == "outcomes" else noise)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strange", [1e308, -1e308, 1e-308])
def test_a_monitor_survives_any_statistic(name: str, strange: float) -> None:
    """A single absurd window raises nothing and pages nobody by itself with a budgeted detector."""
    found = monitors(name)
    weigh(found, usual(name, 100))
    told = weigh(found, [strange], begin=100)
    assert not (DETECTORS[name].budgeted and told)
    assert np.isfinite(found.recovery.shift).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_monitor_leaves_its_input_alone(name: str) -> None:
    """Statistics and scores handed in are the same afterwards."""
    found, window = monitors(name, columns=3), measured([0.5, math.nan, -7.0])
    expected = found.scores.expected(0.0)
    before = copy.deepcopy(window), expected.copy()
    scores = found.scores.score(Moment(0.0, 0.0, SECONDS), window, expected, np.ones(expected.shape, dtype=np.bool_))
    kept = scores.copy()
    found.weigh(0.0, scores, [(5, 50)] * 3)
    np.testing.assert_equal(scores, kept)
    np.testing.assert_equal((window.value, window.within, window.count), (before[0].value, before[0].within, before[0].count))
    np.testing.assert_equal(expected, before[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", [70, 155])
def test_monitors_that_were_stored_say_the_same(name: str, cut: int) -> None:
    """Stored and loaded in the middle, before a change and in it, they give the very same alarms as those that went on."""
    far = 0.9 if DETECTORS[name].feed == "outcomes" else 4.0
    values = np.column_stack([usual(name, 180), usual(name, 180, 8)])
    values[150:, 1] += far
    found = monitors(name, columns=2)
    told = weigh(found, values[:cut].tolist())
    again = loaded(stored(found))
    after = weigh(found, values[cut:].tolist(), begin=cut)
    assert weigh(again, values[cut:].tolist(), begin=cut) == after
    assert name == "eddm" or any(raised.cell[1] == 1 for _, raised in told + after)  # it looks at gaps, which are even here
    assert (again.recovery.fired == found.recovery.fired).all()


@pytest.mark.parametrize("name", ["page_hinkley", "adwin"])
def test_the_memory_of_monitors_is_bounded(name: str) -> None:
    """Eight times the windows make them no more than a little larger; what the product writes itself does not grow at all."""
    found = monitors(name)
    sizes = []
    for begin, size in ((0, 100), (100, 700)):
        weigh(found, usual(name, size, begin), begin=begin)
        sizes.append(len(stored(found)))
    assert sizes[1] < 2 * sizes[0] + 2000
    assert sizes[0] == sizes[1] or not DETECTORS[name].budgeted


@pytest.mark.parametrize("name", [name for name in DETECTORS if EXPECTED[name] < 15])  # EDDM alarms anyway
def test_an_improvement_wakes_nobody(name: str) -> None:
    """Watched upwards only, as errors are, a long fall is no alarm, and the rise that ends it is told soon."""
    better, worse = (-0.26, 0.5) if DETECTORS[name].feed == "outcomes" else (-5.0, 6.0)
    values = usual(name, 300, 4)
    found = monitors(name, "up")
    assert weigh(found, values[:100]) == []
    assert weigh(found, [value + better for value in values[100:200]], begin=100) == []
    ((number, raised),) = weigh(found, [value + worse for value in values[200:]], begin=200)
    assert 200 * SECONDS <= raised.began_at <= number * SECONDS
    assert number < (210 if name == "page_hinkley" else 300)


@pytest.mark.parametrize("name", NAMES)
def test_an_exchange_leaves_what_is_open_open(name: str) -> None:
    """Whatever takes over is silent about what has fired until that has recovered, and begins anew for the others."""
    found = monitors("page_hinkley", columns=2)
    weigh(found, [[0.0, 0.0]] * 20 + [[6.0, 0.0]] * 10)
    found.exchange(name)
    assert found.river == {}
    assert found.recovery.fired[PLACE].tolist() == [True, False]
    assert weigh(found, [[6.0, 0.0]] * 10, begin=30) == []
    weigh(found, [[0.0, 0.0]] * 6, begin=40)
    assert found.recovery.over[PLACE].tolist() == [True, False]


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_statistic_alarms_on_the_sides_that_it_has(statistic: StatisticName, sign: float) -> None:
    """A change of its scores is told once, in its own row; a fall of what alarms upwards is told never."""
    found = monitors(statistic=statistic, up=statistic in UPWARDS)
    values = [sign * 4.0 * (number >= 50) + value for number, value in enumerate(usual("page_hinkley", 100))]
    told = [raised.cell for _, raised in weigh(found, values, statistic=statistic)]
    assert told == ([] if sign < 0 and statistic in UPWARDS else [(place_of(statistic), 0)])
