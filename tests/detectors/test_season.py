"""Seasons: what a time lets expect, on the model's own wall clock, and nothing that chance explains."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from detectors.learning.fit_season import fit
from detectors.reference.local_time import DAY_SECONDS, local_seconds
from detectors.reference.season import SEASON_NAMES, Season, SeasonName, Seasons, choose
from detectors.statistics import STATISTICS

pytestmark = pytest.mark.fast

Floats = np.ndarray
SHAPE = (len(STATISTICS), 1)
CELL = (0, 0)


def seasons_of(season: Season) -> Seasons:
    """Return the expectations of one statistic."""
    found = Seasons.empty(season.window_seconds, SHAPE)
    found.set(CELL, season)
    return found


def fitted(name: SeasonName, width: float, local: Floats, values: Floats) -> tuple[Seasons, float]:
    """Return the expectations fitted to one statistic, and how many parameters they have."""
    (season,), _, used = fit(name, width, local, values[:, None])
    return seasons_of(season), float(used[0])


def at(seasons: Seasons, local: float) -> float:
    """Return what is expected of the statistic."""
    return float(seasons.expect(local)[CELL])


def test_slots_change_with_the_clocks() -> None:
    """Oslo, March 2026: nine o'clock before and after the change is the same slot, an hour apart in UTC."""
    zone = ZoneInfo("Europe/Oslo")
    before, after = datetime(2026, 3, 27, 9, tzinfo=zone), datetime(2026, 3, 30, 9, tzinfo=zone)
    assert before.utcoffset() != after.utcoffset()
    assert [local_seconds(when.timestamp(), "Europe/Oslo") for when in (before, after)] == [4 * DAY_SECONDS + 32400, 32400]
    values = np.array([1.0 if hour == 9 else 0.0 for _ in range(28) for hour in range(24)])
    starts = datetime(2026, 2, 27, tzinfo=zone).timestamp() + 3600.0 * np.arange(28 * 24)
    local = np.array([local_seconds(start, "Europe/Oslo") for start in starts])
    season, _ = fitted("slot-of-week", 3600.0, local, values)
    hours = [at(season, local_seconds(after.timestamp() + 3600.0 * hour, "Europe/Oslo")) for hour in range(-3, 4)]
    assert hours == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0]), "smoothed over the neighbours, in the middle of them"


def test_both_hours_of_the_autumn_change_are_the_same_slot() -> None:
    """The hour from two to three comes twice; both are expected to look alike."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert local_seconds(first, "Europe/Oslo") == local_seconds(first + 3600, "Europe/Oslo")


@pytest.mark.parametrize(
    ("window_seconds", "days", "name"),
    [
        (60.0, 2.9, "constant"),
        (60.0, 3.0, "daily"),
        (60.0, 13.9, "daily"),
        (60.0, 14.0, "weekly"),
        (1799.0, 30.0, "weekly"),
        (1800.0, 2.9, "constant"),
        (1800.0, 3.0, "slot-of-day"),
        (1800.0, 28.0, "slot-of-week"),
        (DAY_SECONDS, 27.0, "constant"),
        (DAY_SECONDS, 28.0, "slot-of-week"),
        (7 * DAY_SECONDS, 90.0, "constant"),
    ],
)
def test_seasons_are_chosen_by_the_table(window_seconds: float, days: float, name: str) -> None:
    """The width of a window and the length of the reference decide."""
    local = np.arange(0.0, days * DAY_SECONDS, window_seconds)
    assert choose(window_seconds, days * DAY_SECONDS, local) == name


def test_office_hours_have_no_harmonics() -> None:
    """Data from eight to four says nothing about the night, so no curve is drawn through it."""
    local = np.concatenate([day * DAY_SECONDS + np.arange(8 * 3600.0, 16 * 3600.0, 300.0) for day in range(5)])
    assert choose(300.0, 5 * DAY_SECONDS, local) == "constant"


def test_working_days_alone_have_no_week() -> None:
    """Four weeks from Monday to Friday, day and night, have a daily cycle, and no curve through the weekend."""
    local = np.concatenate([np.arange(0.0, 5 * DAY_SECONDS, 300.0)] * 4)
    assert choose(300.0, 28 * DAY_SECONDS, local) == "daily"


def test_a_daily_cycle_is_recovered() -> None:
    """A sine of the day is expected to a few hundredths, at times between the windows too, and costs its two parameters."""
    local = np.arange(0.0, 3 * DAY_SECONDS, 600.0)
    noise = np.random.default_rng(3).normal(size=len(local)) * 0.1
    season, parameters = fitted("daily", 600.0, local, np.sin(2 * np.pi * local / DAY_SECONDS) + noise)
    ask = np.array([1234.0, 30_000.0, 80_000.0])
    assert [at(season, one) for one in ask] == pytest.approx(list(np.sin(2 * np.pi * ask / DAY_SECONDS)), abs=0.05)
    assert parameters == 3


def test_harmonics_that_chance_explains_are_left_out() -> None:
    """Nearly all of five hundred statistics that are noise are expected to be their mean: a harmonic has one chance in 2,000."""
    local = np.arange(0.0, 3 * DAY_SECONDS, 600.0)
    values = np.random.default_rng(4).normal(size=(len(local), 500)) + 7.0
    seasons, expected, used = fit("daily", 600.0, local, values)
    told = used > 1
    assert told.sum() <= 6
    assert np.allclose(expected[:, ~told], values.mean(axis=0)[~told])
    for season, mean in zip(seasons, values.mean(axis=0), strict=True):
        assert season.parameters[0] == pytest.approx(mean, abs=1e-9)
    assert all(one == 0.0 for season, kept in zip(seasons, told, strict=True) if not kept for one in season.parameters[1:])


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_a_real_cycle_is_kept(order: int) -> None:
    """Of any of the six frequencies, at any time of day: half of the noise is enough over three days, and no other is drawn."""
    local = np.arange(0.0, 3 * DAY_SECONDS, 600.0)
    draw = np.random.default_rng(order)
    phase = draw.uniform(0, 2 * np.pi, size=100)
    waves = np.sin(2 * np.pi * order * local[:, None] / DAY_SECONDS + phase)
    seasons, expected, used = fit("daily", 600.0, local, waves / 2 + draw.normal(size=waves.shape))
    assert np.mean(used >= 3) > 0.95
    assert np.mean(used == 3) > 0.9
    kept = used == 3
    assert np.sqrt(np.square(expected - waves / 2).mean(axis=0))[kept].max() < 0.25
    pairs = np.abs([season.parameters for season in seasons])[kept, 1:].reshape(-1, 6, 2).sum(axis=2)
    assert np.all(pairs[:, order - 1] > 0)


def by_hand(season: Season, local: float) -> float:
    """Return what a season says, from its parameters alone, as docs and file formats have it."""
    if season.name.startswith("slot"):
        period = DAY_SECONDS if season.name == "slot-of-day" else 7 * DAY_SECONDS
        slot = int((local % period) // season.window_seconds) % len(season.parameters)
        return season.parameters[slot]
    orders = [7 * order for order in range(1, 7)] + [order for order in range(1, 43) if order % 7]
    total = season.parameters[0]
    if season.steps:
        total += season.steps[int(local % (len(season.steps) * 1800.0) // 1800.0)]
    for place, coefficient in enumerate(season.parameters[1:]):
        total += coefficient * (np.cos if place % 2 else np.sin)(orders[place // 2] * 2 * np.pi * local / (7 * DAY_SECONDS))
    return float(total)


def halves(slots: int) -> st.SearchStrategy[list[float]]:
    """Return steps of half hours, or none."""
    return st.one_of(st.just([]), st.floats(-9, 9).map(lambda size: [size * (slot % 5 == 0) for slot in range(slots)]))


SEASONS = st.one_of(
    st.builds(Season, st.just("constant"), st.just(3600.0), st.lists(st.floats(-9, 9), min_size=1, max_size=1)),
    st.builds(Season, st.just("daily"), st.just(3600.0), st.lists(st.floats(-9, 9), min_size=9, max_size=9), halves(48)),
    st.builds(Season, st.just("weekly"), st.just(3600.0), st.lists(st.floats(-9, 9), min_size=85, max_size=85), halves(336)),
    st.builds(Season, st.just("slot-of-day"), st.just(3600.0), st.lists(st.floats(-9, 9), min_size=24, max_size=24)),
    st.builds(Season, st.just("slot-of-week"), st.just(3600.0), st.lists(st.floats(-9, 9), min_size=168, max_size=168)),
)


@pytest.mark.slow
@given(st.lists(SEASONS, min_size=1, max_size=6), st.floats(0, 7 * DAY_SECONDS, exclude_max=True), st.data())
def test_many_seasons_expect_what_each_says(learned: list[Season], local: float, data: st.DataObject) -> None:
    """Side by side, put over each other and cleared again, a cell expects what its own parameters say, and nothing without."""
    seasons = Seasons.empty(3600.0, (2, 1))
    seasons.widen(2)
    in_force: dict[tuple[int, int], Season] = {}
    for season in learned:
        cell = data.draw(st.tuples(st.integers(0, 1), st.integers(0, 2)))
        seasons.set(cell, season)
        in_force[cell] = season
        if data.draw(st.integers(0, 5)) == 0:
            seasons.clear(cell)
            del in_force[cell]
    expected = seasons.expect(local)
    for cell in np.ndindex(2, 3):
        wanted = by_hand(in_force[cell], local) if cell in in_force else 0.0
        assert expected[cell] == pytest.approx(wanted, abs=1e-9)
        assert [name for name in SEASON_NAMES if seasons.are(name)[cell]] == [
            in_force[cell].name if cell in in_force else "constant"
        ]


@pytest.mark.parametrize("hours", [1, 2, 3, 5, 7, 24])
def test_every_window_has_a_slot(hours: int) -> None:
    """Widths that do not divide the day too: each window falls into the slot it was learned in."""
    width = hours * 3600.0
    starts = np.arange(0.0, 40 * DAY_SECONDS, width)
    local = np.array([local_seconds(start, "UTC") for start in starts])
    season, _ = fitted("slot-of-week", width, local, np.full(len(local), 2.5))
    assert {at(season, one) for one in local} == {2.5}


def test_what_is_expected_of_the_reference_is_what_is_expected_later() -> None:
    """The fit and the arrays agree about the windows that were learned from, for every kind of season."""
    draw = np.random.default_rng(5)
    local = np.arange(0.0, 14 * DAY_SECONDS, 3600.0) % (7 * DAY_SECONDS)
    values = draw.normal(size=(len(local), 3)) + 5 * np.sin(2 * np.pi * local / DAY_SECONDS)[:, None]
    for name in SEASON_NAMES:
        learned, expected, _ = fit(name, 3600.0, local, values)
        seasons = Seasons.empty(3600.0, (1, 3))
        for column, season in enumerate(learned):
            seasons.set((0, column), season)
        later = np.array([seasons.expect(one)[0] for one in local])
        assert np.allclose(later, expected)


def test_days_of_the_week_are_not_smoothed() -> None:
    """With one window a day, Sunday stays Sunday."""
    starts = DAY_SECONDS * np.arange(28)
    local = np.array([local_seconds(start, "UTC") for start in starts])
    season, used = fitted("slot-of-week", DAY_SECONDS, local, (local >= 6 * DAY_SECONDS) * 1.0)
    assert [at(season, day * DAY_SECONDS) for day in range(7)] == [0, 0, 0, 0, 0, 0, 1]
    assert used == 7


def office(local: Floats) -> Floats:
    """Return a cycle of working days, flatter on weekends: sines of the day, so no order of the week alone."""
    return np.where(local < 5 * DAY_SECONDS, 1.0, 0.25) * np.sin(2 * np.pi * local / DAY_SECONDS)


def test_a_weekend_is_expected_to_differ() -> None:
    """Two weeks tell the working days from the weekend, to a fraction of the noise; harmonics of the day alone do not."""
    local = np.arange(0.0, 14 * DAY_SECONDS, 600.0) % (7 * DAY_SECONDS)
    noise = np.random.default_rng(6).normal(size=len(local)) * 0.3
    missed = {}
    for name in ("daily", "weekly"):
        _, expected, used = fit(name, 600.0, local, (office(local) + noise)[:, None])
        missed[name] = float(np.sqrt(np.square(expected[:, 0] - office(local)).mean()))
        assert used[0] < 40
    assert missed["weekly"] < 0.1
    assert missed["daily"] > 0.2


@pytest.mark.parametrize(("name", "begin"), [("daily", 0.0), ("daily", 14.2 * 3600), ("weekly", 3.1 * DAY_SECONDS)])
def test_a_stroke_of_the_clock_is_expected(name: SeasonName, begin: float) -> None:
    """What begins at eight and ends at six is missed by harmonics for an hour around both, and by their steps no more."""
    local = (begin + np.arange(0.0, 14 * DAY_SECONDS, 60.0)) % (7 * DAY_SECONDS)
    hours = local % DAY_SECONDS / 3600
    truth = 2.0 * ((hours >= 8) & (hours < 18) & ((local < 5 * DAY_SECONDS) | (name == "daily")))
    values = truth + np.random.default_rng(8).normal(size=len(local))
    (season,), expected, used = fit(name, 60.0, local, values[:, None])
    edges = (np.abs(hours - 8) < 0.5) | (np.abs(hours - 18) < 0.5)
    assert np.sqrt(np.square(expected[:, 0] - truth)[edges].mean()) < 0.35
    assert 0 < np.count_nonzero(season.steps) < 0.25 * len(season.steps)
    assert used[0] == np.count_nonzero(season.parameters) + np.count_nonzero(season.steps)


def test_what_happened_once_is_not_expected_again() -> None:
    """An outage of an hour in one of three days is not expected on the other days, and noise has no steps."""
    local = np.arange(0.0, 3 * DAY_SECONDS, 60.0)
    values = np.random.default_rng(9).normal(size=(len(local), 50))
    seasons, _, _ = fit("daily", 60.0, local, values)
    assert sum(bool(season.steps) for season in seasons) <= 2
    values[2000:2060] -= 10.0
    _, expected, _ = fit("daily", 60.0, local, values)
    assert np.abs(expected[:1440]).max() < 2.5


def test_noise_that_lasts_is_no_cycle() -> None:
    """Noise whose neighbours are alike is loud in slow harmonics, and that is known: nearly none is taken for a cycle."""
    local = np.arange(0.0, 14 * DAY_SECONDS, 600.0) % (7 * DAY_SECONDS)
    noise = lfilter([1.0], [1.0, -0.8], np.random.default_rng(7).normal(size=(len(local), 100)), axis=0)
    for name in ("daily", "weekly"):
        _, _, used = fit(name, 600.0, local, noise)
        assert np.mean(used == 1) > 0.9


def test_slots_of_the_week_follow() -> None:
    """A slot goes 15 % of the way to what is seen there, in the cells that are asked to; a mean stays as learned."""
    local = np.arange(0.0, 28 * DAY_SECONDS, DAY_SECONDS) % (7 * DAY_SECONDS)
    (weekly,), _, _ = fit("slot-of-week", DAY_SECONDS, local, np.zeros((28, 1)))
    (constant,), _, _ = fit("constant", DAY_SECONDS, local, np.zeros((28, 1)))
    seasons = Seasons.empty(DAY_SECONDS, (1, 3))
    for column, season in enumerate((weekly, constant, weekly)):
        seasons.set((0, column), season)
    seasons.follow(0.0, np.ones((1, 3)), np.array([[True, True, False]]), DAY_SECONDS)
    assert seasons.expect(0.0)[0].tolist() == [pytest.approx(0.15), 0.0, 0.0]
    assert seasons.expect(DAY_SECONDS)[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("rollup_width", [1, 4])
def test_harmonics_of_the_week_follow_a_week_that_changes_and_no_level(rollup_width: int) -> None:
    """When weekends become like working days, half of the way is gone in six weeks, in wide windows too; no level is followed."""
    width = 600.0 * rollup_width
    local = np.arange(0.0, 14 * DAY_SECONDS, 600.0) % (7 * DAY_SECONDS)
    learned, _, _ = fit("weekly", width, local, np.column_stack([office(local), office(local), office(local)]))
    seasons = Seasons.empty(600.0, (1, 3))
    for column, season in enumerate(learned):
        seasons.set((0, column), season)
    week = np.arange(0.0, 7 * DAY_SECONDS, width)
    now = np.sin(2 * np.pi * week / DAY_SECONDS)
    missed = []
    for _ in range(7):
        before = np.array([seasons.expect(one)[0] for one in week])
        missed.append(np.sqrt(np.square(now - before[:, 0]).mean()))
        for one, value in zip(week, now, strict=True):
            expected = seasons.expect(one)
            seen = np.array([[value, office(np.array(one)) + 0.5, 9.0]])
            seasons.follow(one, seen - expected, np.array([[True, True, False]]), width)
    assert np.all(np.diff(missed) < 0)
    assert missed[-1] < 0.6 * missed[0]
    later = np.array([seasons.expect(one)[0] for one in week])
    assert np.abs(later[:, 1] - office(week)).mean() < 0.1, "half more at all times is not followed"
    assert np.array_equal(later[:, 2], before[:, 2])
