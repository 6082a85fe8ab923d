"""The end of a change where a season has a cycle: back is what stayed away for the whole of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from detectors.incidents.alert import Alert
from detectors.judging.monitors import Monitors
from detectors.reference.baseline import Baseline
from detectors.reference.local_time import DAY_SECONDS
from detectors.reference.season import Season
from detectors.spec import ModelSpec, ReferenceSpec
from tests.support.monitored import PLACE, SECONDS, has_recovered, loaded, monitors, stored, weigh
from tests.support.simulated import history, numbers, watched

#: Windows of a day.
DAY = 96
WIDTH = DAY_SECONDS / DAY
REFERENCE = 4 * DAY
MODEL = ModelSpec("m", window_seconds=WIDTH, reference=ReferenceSpec(seconds=REFERENCE * WIDTH))
HOUR = np.arange(12 * DAY) % DAY / DAY * 24


def office(hours: np.ndarray) -> np.ndarray:
    """Return 3 in office hours and 0 else."""
    return np.where((hours >= 8) & (hours < 17), 3.0, 0.0)


def told(means: np.ndarray, *, seed: int) -> list[tuple[str, float]]:
    """Return (status, hours since the reference ended) of what on-call hears of a feature with those means."""
    values = np.random.default_rng(seed).normal(size=(len(means), 20)) + means[:, None]
    findings = watched(MODEL, history(MODEL, {"x": numbers(values)}))[1]
    alerts = [one for one in findings if isinstance(one, Alert) and one.status != "updated"]
    return [(one.status, (one.raised_at - REFERENCE * WIDTH) / 3600) for one in alerts]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("change", ["four hours later", "never"])
def test_a_cycle_that_changes_for_good_is_one_incident(change: str, seed: int) -> None:
    """Office hours that move by four hours or are gone: the nights are as they were, and on-call is called once in seven days."""
    means = office(HOUR)
    later = np.arange(len(means)) >= REFERENCE + DAY
    means[later] = office(HOUR - 4)[later] if change == "four hours later" else 0.0
    assert [status for status, _ in told(means, seed=seed)] == ["opened"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_burst_on_a_cycle_ends_after_a_calm_day(seed: int) -> None:
    """Three hours of another level are told, and told as back a day later, as the time of day at which they were has passed."""
    means = office(HOUR)
    means[REFERENCE + DAY : REFERENCE + DAY + 12] += 3.0
    (opened, _), (resolved, back) = told(means, seed=seed)
    assert (opened, resolved) == ("opened", "resolved")
    assert 27 + 24 <= back <= 27 + 30


@pytest.mark.parametrize("seed", [1, 2])
def test_a_burst_on_no_cycle_ends_soon(seed: int) -> None:
    """The same season without a wave that is told from chance has no cycle: back after hours, not a day."""
    means = np.zeros(len(HOUR))
    means[REFERENCE + DAY : REFERENCE + DAY + 12] += 3.0
    (opened, _), (resolved, back) = told(means, seed=seed)
    assert (opened, resolved) == ("opened", "resolved")
    assert back <= 27 + 6


def cyclic() -> Monitors:
    """Return a monitor that waits for a cycle, whose scores are what it is fed all the same, after an alarm."""
    found = monitors()
    waves = [0.0, 1e-9] + [0.0] * 11
    found.set((PLACE, 0), Baseline(Season("daily", SECONDS, waves), 1.0, 0.0, 0.0, 0.0, 1.0, 200, 0.0, -SECONDS))
    assert len(weigh(found, [0.0] * 20 + [6.0] * 10)) == 1
    return found


@cache
def calm(windows: int) -> list[float]:
    """Return standard scores of so many windows."""
    return [float(score) for score in np.random.default_rng(5).normal(size=windows)]


def first_back(found: Monitors, scores: list[float], *, begin: int) -> int | None:
    """Return after how many windows a monitor is back."""
    for number, score in enumerate(scores):
        weigh(found, [score], begin=begin + number)
        if has_recovered(found):
            return number + 1
    return None


CYCLE = round(DAY_SECONDS / SECONDS)


def test_single_windows_far_off_are_no_return_of_the_shift() -> None:
    """One extreme window every two hours does not begin the cycle anew; six windows of the shift do."""
    scores = calm(CYCLE + 200).copy()
    scores[60::120] = [30.0] * len(scores[60::120])
    alone = first_back(cyclic(), scores, begin=30)
    assert alone is not None
    assert CYCLE < alone <= CYCLE + 30
    scores = calm(2 * CYCLE).copy()
    scores[700:706] = [6.0] * 6
    again = first_back(cyclic(), scores, begin=30)
    assert again is not None
    assert CYCLE + 706 < again <= CYCLE + 706 + 60


def test_stored_and_loaded_in_a_calm_cycle_it_ends_at_the_same_time() -> None:
    """A restart at any time of it changes nothing."""
    scores = calm(CYCLE + 100)
    whole = first_back(cyclic(), scores, begin=30)
    assert whole is not None
    for cut in (3, 700, whole - 1):
        before = cyclic()
        assert first_back(before, scores[:cut], begin=30) is None
        assert first_back(loaded(stored(before)), scores[cut:], begin=30 + cut) == whole - cut


def test_a_gap_counts_as_time_of_the_cycle() -> None:
    """Windows that do not come, as at night, are part of the day that has to pass."""
    found = cyclic()
    assert first_back(found, calm(100), begin=30) is None
    assert first_back(found, calm(10), begin=30 + CYCLE) == 1
