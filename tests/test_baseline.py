"""A baseline turns a statistic into scores that white Gaussian arithmetic holds for, on the quiet side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from detectors.baseline import Baseline, learn
from detectors.season import DAY_SECONDS, SeasonName

FLOOR = 2.0
Floats = np.ndarray


def learned(
    values: Floats,
    *,
    within: Floats | float = 0.0,
    counts: Floats | float = 60.0,
    name: SeasonName = "constant",
    starts: Floats | None = None,
    width: float = 60.0,
) -> Baseline:
    """Return the baseline of those values, one for each window."""
    shape = np.ones(len(values))
    starts = starts if starts is not None else width * np.arange(len(values))
    return learn(
        name, width, starts=starts, local=starts, values=values, within=within * shape, counts=counts * shape, floor=FLOOR
    )


def scores(baseline: Baseline, values: Floats, *, start: float, width: float = 60.0, count: float = 60.0) -> Floats:
    """Return the scores of windows that follow each other."""
    return np.array(
        [
            baseline.score(
                start=start + width * index, local=(start + width * index) % (7 * DAY_SECONDS), value=value, count=count
            )
            for index, value in enumerate(values)
        ]
    )


def ar(rng: np.random.Generator, correlation: float, size: int) -> Floats:
    """Return a stationary AR(1) series of variance one."""
    noise = rng.normal(size=size + 500) * math.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise))[500:]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("windows", [30, 100, 500])
def test_scores_are_white_and_no_wider_than_one(correlation: float, windows: int) -> None:
    """Over many references of any length, scores of what follows have a long-run spread below one."""
    rng = np.random.default_rng(1)
    spreads = []
    for _ in range(60):
        series = ar(rng, correlation, windows + 200)
        found = scores(learned(series[:windows]), series[windows:], start=60.0 * windows)
        blocks = found.reshape(-1, 10).sum(axis=1) / math.sqrt(10)
        spreads.append(blocks.var() + blocks.mean() ** 2)
    assert 0.25 < np.median(spreads) < 1.1


def test_a_gap_is_no_surprise() -> None:
    """After missing windows a correlated statistic is forgotten a little, and its score is no larger than any other."""
    rng = np.random.default_rng(2)
    series = ar(rng, 0.95, 6000)
    baseline = learned(series[:500])
    gapped = [
        baseline.score(start=60.0 * index, local=0.0, value=series[index], count=60.0)
        for index in range(500, 6000)
        if index % 20 < 2
    ]
    adjacent, after_gap = np.array(gapped[1::2]), np.array(gapped[2::2])
    assert after_gap.std() < 1.1
    assert 0.7 < after_gap.std() / adjacent.std() < 1.4


def test_a_reference_with_gaps_is_not_wider_than_one_without() -> None:
    """Thinned windows of a correlated stream give about the same spread as all of them."""
    rng = np.random.default_rng(3)
    series = ar(rng, 0.9, 4096)
    starts = 60.0 * np.arange(4096)
    kept = np.arange(4096) // 16 % 4 == 0
    whole, thinned = learned(series, starts=starts), learned(series[kept], starts=starts[kept])
    assert thinned.spread == pytest.approx(whole.spread, rel=0.35)


def test_the_first_window_after_the_reference_is_one_like_the_others() -> None:
    """The last reference window is remembered: in a correlated stream the next one is judged against it."""
    rng = np.random.default_rng(4)
    firsts = []
    for _ in range(200):
        series = ar(rng, 0.95, 301)
        firsts.append(scores(learned(series[:300]), series[300:], start=60.0 * 300)[0])
    assert np.std(firsts) < 1.2


def test_few_events_are_not_held_against_a_window() -> None:
    """The spread within a window shrinks with its events, that between windows does not."""
    rng = np.random.default_rng(5)
    counts = rng.choice([10.0, 1000.0], size=400)
    values = rng.normal(size=400) / np.sqrt(counts)
    baseline = learned(values, within=1.0, counts=counts)
    small = [
        baseline.score(start=60.0 * (400 + i), local=0.0, value=v, count=10.0)
        for i, v in enumerate(rng.normal(size=300) / 10**0.5)
    ]
    large = [
        baseline.score(start=60.0 * (700 + i), local=0.0, value=v, count=1e3)
        for i, v in enumerate(rng.normal(size=300) / 1e3**0.5)
    ]
    assert 0.6 < np.std(small) < 1.2
    assert 0.6 < np.std(large) < 1.2


def test_what_never_varied_has_a_floor() -> None:
    """One odd event among sixty in a statistic that was always zero is at most about one deviation, ten are many."""
    baseline = learned(np.zeros(200))
    one, ten = scores(baseline, np.array([1 / 60, 10 / 60]), start=12_000.0)
    assert 0.5 < one < 1.5
    assert ten > 5


@pytest.mark.parametrize("rate", [0.0005, 0.005, 0.02, 0.05, 0.3])
def test_rare_rates_do_not_outrun_the_gaussian(rate: float) -> None:
    """For rates of any size the scores grow a CUSUM no faster than Gaussian ones do: E exp(score - 1/2) is at most one."""
    rng = np.random.default_rng(6)
    reference = rng.binomial(60, rate, size=500) / 60
    baseline = learned(reference, within=float((reference * (1 - reference)).mean()))
    found = scores(baseline, rng.binomial(60, rate, size=20_000) / 60, start=30_000.0)
    assert np.exp(found - 0.5).mean() < 1.1


def test_a_daily_cycle_is_no_news() -> None:
    """With three days of reference a cycle ten times the noise leaves scores of about one; without a season it would not."""
    rng = np.random.default_rng(7)
    starts = 600.0 * np.arange(144 * 6)
    values = 10 * np.sin(2 * np.pi * starts / DAY_SECONDS) + rng.normal(size=len(starts))
    split = 144 * 3
    baseline = learned(values[:split], name="daily", starts=starts[:split], width=600.0)
    found = scores(baseline, values[split:], start=starts[split], width=600.0)
    assert found.std() < 1.2
    assert abs(found.mean()) < 0.3


def test_a_slow_change_of_level_is_followed_by_coarse_seasons() -> None:
    """Slot seasons learn a level that moves over months; a constant stays where it was."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=28)
    starts = DAY_SECONDS * np.arange(28)
    weekly = learned(values, name="slot-of-week", starts=starts, width=DAY_SECONDS)
    constant = learned(values, starts=starts, width=DAY_SECONDS)
    for day in range(28, 200):
        for baseline in (weekly, constant):
            baseline.follow(local=day * DAY_SECONDS % (7 * DAY_SECONDS), value=2.0)
    assert weekly.expected(0.0) == pytest.approx(2.0, abs=0.1)
    assert constant.expected(0.0) == pytest.approx(float(values.mean()))


def test_a_short_reference_is_wider() -> None:
    """The same noise, learned from 30 windows or from 500: fewer windows, larger limits."""
    rng = np.random.default_rng(9)
    spreads = [np.mean([learned(rng.normal(size=windows)).spread for _ in range(30)]) for windows in (30, 100, 500)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 1.3 * spreads[2]


def test_two_windows_are_enough_to_compute() -> None:
    """Nothing divides by zero on the shortest of references."""
    for values in ([1.0, 1.0], [0.0, 5.0], [0.0, 0.0, 0.0]):
        baseline = learned(np.array(values))
        assert math.isfinite(scores(baseline, np.array([3.0]), start=600.0)[0])
