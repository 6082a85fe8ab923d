"""A baseline turns a statistic into scores that white Gaussian arithmetic holds for, on the quiet side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from detectors.judging.scores import Moment, Scores
from detectors.learning.fit_baseline import learn
from detectors.measure.measure import Measures
from detectors.reference.baseline import Baseline
from detectors.reference.local_time import DAY_SECONDS
from detectors.reference.season import SeasonName
from detectors.statistics import STATISTICS

pytestmark = pytest.mark.fast

FLOOR = 2.0
Floats = np.ndarray


def learned(
    values: Floats,
    *,
    within: float = 0.0,
    counts: Floats | float = 60.0,
    name: SeasonName = "constant",
    starts: Floats | None = None,
    width: float = 60.0,
    least: float = 0.0,
) -> list[Baseline]:
    """Return the baselines of those values, a window each row and a statistic each column."""
    starts = starts if starts is not None else width * np.arange(len(values))
    counts = np.broadcast_to(np.reshape(counts, (-1, 1)), values.shape)
    return learn(
        name,
        width,
        starts=starts,
        local=starts % (7 * DAY_SECONDS),
        values=values,
        within=np.full(values.shape[1], within),
        counts=counts,
        floor=np.full(values.shape[1], FLOOR),
        least=least,
    )


def scored_by(baselines: list[Baseline], width: float = 60.0) -> Scores:
    """Return scores with a column for each baseline."""
    found = Scores.empty(width)
    found.widen(len(baselines))
    for column, baseline in enumerate(baselines):
        found.set((0, column), baseline)
    return found


def measures(values: Floats, count: float) -> Measures:
    """Return one statistic of each column as a window measures it."""
    value = np.full((len(STATISTICS), len(values)), np.nan)
    value[0] = values
    return Measures(value, np.zeros_like(value), np.full_like(value, count))


def score(by: Scores, values: Floats, *, start: float, width: float = 60.0, count: float = 60.0) -> Floats:
    """Return the scores of one window, one for each column."""
    measured = measures(values, count)
    expected = by.expected(start % (7 * DAY_SECONDS))
    return by.score(Moment(start, start % (7 * DAY_SECONDS), width), measured, expected, np.ones(expected.shape, dtype=np.bool_))[
        0
    ]


def scores(baselines: list[Baseline], values: Floats, *, start: float, width: float = 60.0, count: float = 60.0) -> Floats:
    """Return the scores of windows that follow each other, of the shape of the values."""
    by = scored_by(baselines, width)
    return np.array([score(by, row, start=start + width * index, width=width, count=count) for index, row in enumerate(values)])


def ar(rng: np.random.Generator, correlation: float, size: int, columns: int = 1) -> Floats:
    """Return stationary AR(1) series of variance one."""
    noise = rng.normal(size=(size + 500, columns)) * math.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise, axis=0))[500:]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("windows", [30, 100, 500])
def test_scores_are_white_and_no_wider_than_one(correlation: float, windows: int) -> None:
    """Over many references of any length, scores of what follows have a long-run spread below one."""
    series = ar(np.random.default_rng(1), correlation, windows + 200, 60)
    found = scores(learned(series[:windows]), series[windows:], start=60.0 * windows)
    blocks = found.reshape(-1, 10, 60).sum(axis=1) / math.sqrt(10)
    assert 0.2 < np.median(blocks.var(axis=0) + blocks.mean(axis=0) ** 2) < 1.1


def test_a_gap_is_no_surprise() -> None:
    """After missing windows a correlated statistic is forgotten a little, and its score is no larger than any other."""
    series = ar(np.random.default_rng(2), 0.95, 1000, 10)
    by = scored_by(learned(series[:500]))
    gapped = np.array([score(by, series[index], start=60.0 * index) for index in range(500, 1000) if index % 20 < 2])
    adjacent, after_gap = gapped[1::2], gapped[2::2]
    assert after_gap.std() < 1.1
    assert 0.7 < after_gap.std() / adjacent.std() < 1.4


def test_a_reference_with_gaps_is_not_wider_than_one_without() -> None:
    """Thinned windows of a correlated stream give about the same spread as all of them."""
    series = ar(np.random.default_rng(3), 0.9, 4096)
    starts = 60.0 * np.arange(4096)
    kept = np.arange(4096) // 16 % 4 == 0
    (whole,), (thinned,) = learned(series, starts=starts), learned(series[kept], starts=starts[kept])
    assert thinned.spread == pytest.approx(whole.spread, rel=0.35)


def test_the_first_window_after_the_reference_is_one_like_the_others() -> None:
    """The last reference window is remembered: in a correlated stream the next one is judged against it."""
    series = ar(np.random.default_rng(4), 0.95, 301, 200)
    assert np.std(scores(learned(series[:300]), series[300:], start=60.0 * 300)) < 1.2


def test_few_events_are_not_held_against_a_window() -> None:
    """The spread within a window shrinks with its events, that between windows does not."""
    rng = np.random.default_rng(5)
    counts = rng.choice([10.0, 1000.0], size=400)
    baselines = learned(rng.normal(size=(400, 1)) / np.sqrt(counts)[:, None], within=1.0, counts=counts)
    for count in (10.0, 1000.0):
        values = rng.normal(size=(300, 1)) / math.sqrt(count)
        assert 0.6 < np.std(scores(baselines, values, start=60.0 * 400, count=count)) < 1.2


def test_what_never_varied_has_a_floor() -> None:
    """One odd event among sixty in a statistic that was always zero is at most about one deviation, ten are many."""
    one, ten = scores(learned(np.zeros((200, 1))), np.array([[1 / 60], [10 / 60]]), start=12_000.0)[:, 0]
    assert 0.5 < one < 1.5
    assert ten > 5


def test_a_least_spread_holds_whatever_the_reference_shows() -> None:
    """A level that was always the same is not exact: what lies within the least spread is no news."""
    series = np.random.default_rng(14).normal(size=(200, 1)) * 0.01
    (exact,), (careful,) = learned(series), learned(series, least=0.5)
    assert (exact.between < 0.001, careful.between) == (True, pytest.approx(0.25))
    assert abs(scores([careful], np.array([[0.5]]), start=12_000.0)[0, 0]) < 2.5
    assert abs(scores([exact], np.array([[0.5]]), start=12_000.0, count=1000.0)[0, 0]) > 10


def test_the_rounding_of_a_constant_is_no_correlation() -> None:
    """What never moved but for its last bits, alike in every window, is as a constant: a move of ten floors is seen."""
    (baseline,) = learned(np.full((200, 1), 0.1) + 1e-17 * np.arange(200)[:, None], least=0.1)
    assert baseline.correlation == 0.0
    assert scores([baseline], np.array([[1.1], [1.1], [1.1]]), start=12_000.0, count=1000.0).min() > 5


@pytest.mark.parametrize("rate", [0.0005, 0.005, 0.02, 0.05, 0.3])
def test_rare_rates_do_not_outrun_the_gaussian(rate: float) -> None:
    """For rates of any size the scores grow a CUSUM no faster than Gaussian ones do: E exp(score - 1/2) is at most one."""
    rng = np.random.default_rng(6)
    reference = rng.binomial(60, rate, size=(500, 1)) / 60
    baselines = learned(reference, within=float((reference * (1 - reference)).mean()))
    found = scores(baselines * 100, rng.binomial(60, rate, size=(200, 100)) / 60, start=30_000.0)
    assert np.exp(found - 0.5).mean() < 1.1


def test_a_daily_cycle_is_no_news() -> None:
    """With three days of reference a cycle ten times the noise leaves scores of about one; without a season it would not."""
    rng = np.random.default_rng(7)
    starts = 600.0 * np.arange(144 * 6)
    values = 10 * np.sin(2 * np.pi * starts / DAY_SECONDS)[:, None] + rng.normal(size=(len(starts), 1))
    split = 144 * 3
    baselines = learned(values[:split], name="daily", starts=starts[:split], width=600.0)
    found = scores(baselines, values[split:], start=starts[split], width=600.0)
    assert found.std() < 1.2
    assert abs(found.mean()) < 0.3


def test_a_slow_change_of_level_is_followed_by_coarse_seasons() -> None:
    """Slot seasons learn a level that moves over months; a constant stays where it was, and so does what is not calm."""
    values = np.random.default_rng(8).normal(size=(28, 1))
    starts = DAY_SECONDS * np.arange(28)
    weekly = learned(values, name="slot-of-week", starts=starts, width=DAY_SECONDS)
    constant = learned(values, starts=starts, width=DAY_SECONDS)
    by = scored_by([*weekly, *constant, *weekly], DAY_SECONDS)
    before = by.expected(0.0)[0]
    calm = np.zeros((len(STATISTICS), 3), dtype=np.bool_)
    calm[0, :2] = True
    for day in range(28, 200):
        local = day * DAY_SECONDS % (7 * DAY_SECONDS)
        moment = Moment(day * DAY_SECONDS, local, DAY_SECONDS)
        by.follow(moment, measures(np.full(3, 2.0), 60.0), by.expected(local), calm)
    after = by.expected(0.0)[0]
    assert after[0] == pytest.approx(2.0, abs=0.1)
    assert after[1:].tolist() == before[1:].tolist()
    assert after[1] == pytest.approx(float(values.mean()))


@pytest.mark.slow
def test_a_step_that_harmonics_round_off_is_not_told_every_week() -> None:
    """Working days that differ from weekends from midnight on: what the harmonics miss there carries no CUSUM to a limit."""
    rng = np.random.default_rng(15)
    starts = 300.0 * np.arange(28 * 288)
    local = starts % (7 * DAY_SECONDS)
    office = np.where(local < 5 * DAY_SECONDS, 6.0 + 8.0 * np.sin(2 * np.pi * local / DAY_SECONDS), 0.0)
    values = rng.normal(size=(len(starts), 10)) + office[:, None]
    reference = 14 * 288
    baselines = learned(values[:reference], name="weekly", starts=starts[:reference], width=300.0)
    found = scores(baselines, values[reference:], start=starts[reference], width=300.0)
    walk = np.zeros(10)
    for window in np.clip(found, -6, 6):
        walk = np.maximum(0.0, walk + window - 0.5)
        assert walk.max() < 11


def test_what_is_missed_in_every_cycle_raises_the_limit() -> None:
    """A quarter of an hour that is strange every day widens the spread, three times at most; one that was once, little."""
    rng = np.random.default_rng(16)
    starts = 60.0 * np.arange(3 * 1440)
    quiet = rng.normal(size=(len(starts), 20))
    once, daily = quiet.copy(), quiet.copy()
    once[1000:1015] += 2.5
    for day in range(3):
        daily[1440 * day + 1003 : 1440 * day + 1018] += 2.5
    usual, strange, again = (
        np.mean([one.spread for one in learned(one, name="daily", starts=starts)]) for one in (quiet, once, daily)
    )
    assert usual < 1.1
    assert strange < 1.3 * usual
    assert 1.3 * usual < again < 3.5 * usual


def test_a_short_reference_is_wider() -> None:
    """The same noise, learned from 30 windows or from 500: fewer windows, larger limits."""
    rng = np.random.default_rng(9)
    spreads = [np.mean([one.spread for one in learned(rng.normal(size=(windows, 30)))]) for windows in (30, 100, 500)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 1.3 * spreads[2]


def test_two_windows_are_enough_to_compute() -> None:
    """Nothing divides by zero on the shortest of references."""
    for values in ([1.0, 1.0], [0.0, 5.0], [0.0, 0.0, 0.0]):
        baselines = learned(np.array(values)[:, None])
        assert math.isfinite(scores(baselines, np.array([[3.0]]), start=600.0)[0, 0])
        assert not baselines[0].fast


def test_statistics_learned_together_are_learned_as_each_alone() -> None:
    """What stands in the other columns changes nothing but the last bits."""
    rng = np.random.default_rng(10)
    values = np.column_stack([rng.normal(size=200), np.zeros(200), ar(rng, 0.9, 200)[:, 0], rng.random(200) < 0.01])
    for season in ("constant", "daily", "slot-of-day"):
        starts = 1800.0 * np.arange(200)
        together = learned(values, name=season, starts=starts, width=1800.0)
        for column, baseline in enumerate(together):
            (alone,) = learned(values[:, [column]], name=season, starts=starts, width=1800.0)
            assert alone.season.parameters == pytest.approx(baseline.season.parameters, abs=1e-9)
            for figure in ("between", "correlation", "spread", "last", "last_start", "windows", "fast"):
                assert getattr(alone, figure) == pytest.approx(getattr(baseline, figure), abs=1e-9)


def test_the_fast_path_is_for_gaussian_tails() -> None:
    """Heavy tails, rare events, spreads that come in clusters, constants and short references are kept from it; noise is not."""
    rng = np.random.default_rng(11)
    size = 2000
    noise = ar(rng, 0.0, size)[:, 0]
    kinds = {
        "white": noise,
        "correlated": ar(rng, 0.9, size)[:, 0],
        "student": rng.standard_t(3, size=size),
        "rare": (rng.random(size) < 0.02) * 1.0,
        "clusters": noise * np.exp(1.2 * ar(rng, 0.98, size)[:, 0]),
        "constant": np.zeros(size),
    }
    found = learned(np.column_stack(list(kinds.values())))
    assert [name for name, baseline in zip(kinds, found, strict=True) if baseline.fast] == ["white", "correlated"]
    assert not any(baseline.fast for baseline in learned(rng.normal(size=(48, 20))))


def test_what_is_not_due_is_not_scored() -> None:
    """Cells without a baseline, without a value or not due have no score, and their last residual stays."""
    by = scored_by(learned(np.random.default_rng(12).normal(size=(100, 4))))
    by.set((0, 1), None)
    before = by.last.copy()
    due = np.ones(by.last.shape, dtype=np.bool_)
    due[0, 2] = False
    found = by.score(Moment(6000.0, 6000.0, 60.0), measures(np.array([1.0, 1.0, 1.0, np.nan]), 60.0), by.expected(6000.0), due)
    assert np.isnan(found[0]).tolist() == [False, True, True, True]
    assert np.isnan(found[1:]).all()
    assert by.last[0, 1:].tolist() == before[0, 1:].tolist()
    assert by.last[0, 0] != before[0, 0]
    assert by.last_start[0].tolist() == [6000.0, 5940.0, 5940.0, 5940.0]


def test_columns_that_are_added_change_no_others() -> None:
    """New features get their place behind those that are there."""
    values = np.random.default_rng(13).normal(size=(200, 2))
    narrow, wide = scored_by(learned(values[:100])), scored_by(learned(values[:100]))
    wide.widen(3)
    for index in range(100, 200):
        one = score(narrow, values[index], start=60.0 * index)
        other = score(wide, np.append(values[index], [5.0] * 3), start=60.0 * index)
        assert one.tolist() == other[:2].tolist()
        assert np.isnan(other[2:]).all()
