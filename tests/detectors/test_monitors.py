"""Monitors as arrays: the test is River's, the fast path, dates, silence while it lasts, recovery, and what is stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from detectors.judging.budget import ALLOWANCE
from detectors.judging.detectors import Direction
from detectors.judging.monitors import Monitors
from tests.support.monitored import PLACE, SECONDS, has_fired, has_recovered, loaded, monitors, stored, weigh

pytestmark = pytest.mark.fast

#: No sum of scores that hypothesis would think of is exactly this.
THRESHOLD = 5.123456789
#: Scores beyond this are cut off before they are added up.
CAP = THRESHOLD / 2 + ALLOWANCE + 0.5
DIRECTIONS: tuple[Direction, ...] = ("both", "up")


def river(direction: Direction, windows: int) -> drift.PageHinkley:
    """Return River's own test, after so many windows of the reference."""
    found = drift.PageHinkley(min_instances=1, delta=ALLOWANCE, threshold=THRESHOLD, alpha=1, mode=direction)
    for _ in range(windows):
        found.update(0.0)
    return found


def agree(rows: Sequence[Sequence[float]], direction: Direction, windows: int) -> int:
    """Hold monitors, a column each, to River's tests over rows of scores, both anew after each alarm; return how many there were.

    A rise that only ends a fall is no alarm where falls are none: the monitors then begin anew, and say nothing.
    """
    width = len(rows[0])
    found = monitors(direction=direction, columns=width, threshold=THRESHOLD, windows=windows)
    others = [river(direction, windows) for _ in range(width)]
    alarms = 0
    for number, row in enumerate(rows):
        told = {raised.cell[1] for _, raised in weigh(found, [row], begin=number)}
        anew = {column for column in range(width) if found.count[PLACE, column] == windows}
        for column, (other, score) in enumerate(zip(others, row, strict=True)):
            other.update(score)
            assert other.drift_detected == (column in told | anew), (number, column)
            if other.drift_detected:
                assert direction == "up" or column in told
                others[column] = river(direction, windows)
        found.rearm(found.recovery.fired > 0)
        alarms += len(told)
    return alarms


scores = st.floats(-CAP, CAP, allow_subnormal=False)


@given(
    st.lists(st.lists(scores, min_size=2, max_size=2), min_size=1, max_size=60), st.sampled_from(DIRECTIONS), st.integers(1, 300)
)
@settings(max_examples=60)
def test_page_and_hinkleys_test_is_rivers(rows: list[list[float]], direction: Direction, windows: int) -> None:
    """For any scores within the cap, after a reference of any length, the alarms are River's, at the same windows."""
    agree(rows, direction, windows)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_over_twenty_thousand_scores_it_is_rivers(direction: Direction) -> None:
    """White scores with changes of level in them: River alarms at the same windows, and often."""
    draw = np.random.default_rng(7)
    values = draw.normal(size=(400, 50)) + np.repeat(draw.choice([0.0, 0.0, 1.0, -1.5], size=(20, 50)), 20, axis=0)
    assert agree(np.clip(values, -CAP, CAP).tolist(), direction, 200) > 300


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=20))
@settings(max_examples=60)
def test_beyond_the_cap_a_score_counts_as_the_cap(values: list[float]) -> None:
    """However extreme: the same alarms as River's with the scores cut off."""
    found, other = monitors(threshold=THRESHOLD), river("both", 200)
    for number, value in enumerate(values):
        told = weigh(found, [value], begin=number)
        other.update(max(-CAP, min(CAP, value)))
        assert bool(told) == other.drift_detected
        if told:
            return


def fast(values: Sequence[float], *, armed: bool = True, up: bool = False) -> list[int]:
    """Return the windows in which monitors alarm whose fast path has the limit 3, and whose threshold is out of reach."""
    found = monitors(threshold=1000.0, limit=3.0, fast=armed, up=up)
    return [number for number, _ in weigh(found, values)]


def test_two_windows_beyond_the_limit_on_one_side_are_an_alarm() -> None:
    """Two in a row are; one is not, nor two with a calm one between them, nor two on opposite sides."""
    assert fast([0.0, 3.1, 3.1]) == [2]
    assert fast([0.0, -3.1, -3.1]) == [2]
    assert fast([0.0, 9.0, 0.0, 9.0, 2.9]) == []
    assert fast([0.0, 9.0, -9.0, 9.0]) == []
    assert fast([0.0, 3.1, 2.9, 3.1]) == []
    assert fast([9.0]) == []


def test_the_fast_path_is_only_where_it_is_armed_and_where_that_side_alarms() -> None:
    """A baseline without the tails for it has none, and a statistic that alarms upwards has none for falls."""
    assert fast([0.0, 9.0, 9.0], armed=False) == []
    assert fast([0.0, -9.0, -9.0], up=True) == []
    assert fast([0.0, 9.0, 9.0], up=True) == [2]


@given(st.lists(st.floats(-6, 6), max_size=60), st.booleans())
@settings(max_examples=60)
def test_the_fast_path_says_what_its_rule_says(values: list[float], up: bool) -> None:
    """The first alarm is at the first two scores in a row that are beyond the limit on a side that alarms."""
    pairs = [
        number
        for number in range(1, len(values))
        if min(values[number - 1 : number + 1]) > 3.0 or (not up and max(values[number - 1 : number + 1]) < -3.0)
    ]
    assert fast(values, up=up)[:1] == pairs[:1]


def test_a_gap_is_no_window() -> None:
    """A window that says nothing moves nothing: not the test, not the fast path, not recovery."""
    found = monitors(columns=2, threshold=THRESHOLD, limit=3.0, fast=True)
    weigh(found, [[0.0, 0.0], [4.0, 4.0]])
    before = stored(found)
    assert weigh(found, [[float("nan"), float("nan")]], begin=2) == []
    assert stored(found) == before
    assert [raised.cell for _, raised in weigh(found, [[4.0, float("nan")]], begin=3)] == [(PLACE, 0)]


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=80), st.data())
@settings(max_examples=30)
def test_stored_and_loaded_in_the_middle_they_say_the_same(values: list[float], data: st.DataObject) -> None:
    """Alarms, dates, recovery, and every number in the state are the same after a restart at any window."""
    cut = data.draw(st.integers(0, len(values)))
    found = monitors(threshold=THRESHOLD, limit=3.0, fast=True, correlation=0.5)
    told = weigh(found, values[:cut])
    copy = loaded(stored(found))
    assert weigh(copy, values[cut:], begin=cut) == weigh(found, values[cut:], begin=cut)
    assert len(told) <= 1
    assert stored(copy) == stored(found)
    assert (copy.recovery.over == found.recovery.over).all()


@pytest.mark.slow
def test_a_column_does_not_depend_on_those_beside_it() -> None:
    """Each says alone what it says among forty others."""
    draw = np.random.default_rng(9)
    values = draw.normal(size=(200, 40)) + np.where(np.arange(40) % 4 == 0, 2.0, 0.0) * (np.arange(200) >= 100)[:, None]
    together = weigh(monitors(columns=40, threshold=THRESHOLD, limit=3.5, fast=True), values.tolist())
    for column in range(40):
        alone = weigh(monitors(threshold=THRESHOLD, limit=3.5, fast=True), values[:, column].tolist())
        mine = [(number, raised.score, raised.began_at) for number, raised in together if raised.cell[1] == column]
        assert [(number, raised.score, raised.began_at) for number, raised in alone] == mine
    assert len({raised.cell[1] for _, raised in together}) >= 10


def noise(size: int, seed: int) -> list[float]:
    """Return standard scores while nothing changes."""
    return [float(value) for value in np.random.default_rng(seed).normal(size=size)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_alarm_is_dated_and_silent_while_it_lasts(sign: float) -> None:
    """One alarm for one change, from the window in which it began; the other side counts as well."""
    found = monitors()
    assert weigh(found, noise(300, 1)) == []
    ((number, raised),) = weigh(found, [sign * 2 + value for value in noise(500, 5)], begin=300)
    assert number < 320
    assert abs(raised.began_at - 300 * SECONDS) <= 3 * SECONDS
    assert has_fired(found)
    assert found.recovery.shift[PLACE, 0] * sign > 0


def test_a_fall_is_no_news_where_only_rises_alarm() -> None:
    """A long fall wakes nobody, and the rise that ends it is dated from where it began and told soon."""
    found = monitors(up=True)
    values = noise(300, 4)
    assert weigh(found, values[:100] + [value - 5 for value in values[100:200]]) == []
    ((number, raised),) = weigh(found, [value + 6 for value in values[200:]], begin=200)
    assert 200 * SECONDS <= raised.began_at <= number * SECONDS
    assert number < 210


@pytest.mark.parametrize("shift", [0.8, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_what_lasts_is_not_taken_for_recovered(shift: float, correlation: float) -> None:
    """While a shift lasts, weak or strong, its monitor does not recover in a thousand windows; when it ends, it does."""
    spread = (1 - correlation**2) ** 0.5
    found = monitors(correlation=correlation, spread=spread)
    rng = np.random.default_rng(6)
    value, series = 0.0, []
    for _ in range(1800):
        value = correlation * value + float(rng.normal()) * spread
        series.append(value)
    size = shift / (1 - correlation) * spread  # as much evidence in each window
    assert weigh(found, series[:200]) == []
    recovered = False
    for number in range(200, 1300):
        weigh(found, [series[number] + size], begin=number)
        recovered |= has_recovered(found)
    assert has_fired(found)
    assert not recovered
    weigh(found, series[1300:1550], begin=1300)
    assert has_recovered(found)


def ends(scores: np.ndarray) -> list[list[int]]:
    """Return the windows at which each column of scores, shape (windows, columns), was told to be back, and was armed anew."""
    found = monitors(columns=scores.shape[1], threshold=14.0)
    told: list[list[int]] = [[] for _ in range(scores.shape[1])]
    for number, row in enumerate(scores.tolist()):
        weigh(found, [row], begin=number)
        for column in np.flatnonzero(found.recovery.over[PLACE]).tolist():
            told[column].append(number)
        found.rearm(found.recovery.over)
    assert (found.recovery.fired[PLACE] > 0).sum() + sum(map(len, told)) >= scores.shape[1] / 2  # most of them alarmed
    return told


def rates(before: float, after: float, *, rows: int, windows: int, columns: int) -> np.ndarray:
    """Return scores of the mean of a boolean in windows of so many rows, whose rate is another from the hundredth on."""
    draw = np.random.default_rng(11)
    rate = np.where(np.arange(windows) < 100, before, after)[:, None]
    counts = draw.binomial(rows, rate, size=(windows, columns))
    found: np.ndarray = (counts / rows - before) / np.sqrt(before * (1 - before) / rows) / 1.25
    return found


def test_a_rate_that_rises_for_good_is_not_taken_for_recovered() -> None:
    """A tenfold rate has tenfold variance: many windows lie near the reference, and in thirty columns none is told to be back."""
    assert ends(rates(0.005, 0.05, rows=30, windows=1500, columns=30)) == [[]] * 30


def test_a_shift_that_seemed_larger_than_it_is_is_not_taken_for_recovered() -> None:
    """Loud scores around a small shift raise alarms by their largest; the mean of what follows is not back, but for one of 40."""
    scores = np.random.default_rng(12).normal(size=(1000, 40))
    scores[100:] = 3 * scores[100:] + 1
    assert sum(map(len, ends(scores))) <= 1


@pytest.mark.parametrize("windows", [20, 200])
@pytest.mark.parametrize("size", [4.0, 8.0, 20.0])
def test_a_burst_that_ends_is_told_as_back_once_and_soon(size: float, windows: int) -> None:
    """Short or long, strong or very strong: once, not before its end, most within twenty windows of it and all within 130."""
    scores = np.random.default_rng(13).normal(size=(windows + 300, 30))
    scores[50 : 50 + windows] += size
    found = ends(scores)
    assert [len(one) for one in found] == [1] * 30
    late = [one[0] - (50 + windows) for one in found]
    assert min(late) >= 5
    assert np.median(late) <= 20
    assert max(late) <= 130


def alarmed() -> Monitors:
    """Return a monitor that was calm for 20 windows and far up for 10."""
    found = monitors()
    assert len(weigh(found, [0.0] * 20 + [6.0] * 10)) == 1
    return found


def test_recovery_takes_a_while() -> None:
    """A change that ends is over after six calm windows, not after one, and the monitor can alarm again."""
    found = alarmed()
    weigh(found, [0.0] * 5, begin=30)
    assert not has_recovered(found)
    weigh(found, [0.0], begin=35)
    assert has_recovered(found)
    found.rearm(found.recovery.over)
    assert not has_fired(found)
    assert len(weigh(found, [6.0] * 10, begin=36)) == 1


def test_the_other_extreme_is_no_recovery() -> None:
    """A statistic that goes from far above to far below is not back."""
    found = alarmed()
    assert weigh(found, [-6.0] * 50, begin=30) == []
    assert has_fired(found)
    assert not has_recovered(found)


def test_what_never_fired_has_not_recovered() -> None:
    """Calm windows alone are no news."""
    found = monitors()
    weigh(found, [0.0] * 50)
    assert not found.recovery.over.any()


def test_another_detector_takes_over_what_is_open() -> None:
    """A monitor that fired and gets another detector still knows its shift, and recovers when that ends."""
    found = alarmed()
    found.exchange("adwin")
    assert weigh(found, [6.0] * 10, begin=30) == []
    assert (has_fired(found), has_recovered(found)) == (True, False)
    weigh(found, [0.0] * 6, begin=40)
    assert has_recovered(found)


def test_a_monitor_without_a_baseline_says_nothing() -> None:
    """No alarm, no evidence, and nothing that could recover; a baseline taken away takes the alarm with it."""
    found = alarmed()
    found.set((PLACE, 0), None)
    assert weigh(found, [9.0] * 50, begin=30) == []
    assert not found.watched.any()
    assert not found.evidence.any()
    assert not found.recovery.over.any()
