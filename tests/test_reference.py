"""References: normal scores that no unit, tie or tail can upset; seasons on the model's own wall clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.columns import Feature
from detectors.merge import Pooled, absent, pool
from detectors.reference import KNOWN_CATEGORIES, QUANTILES, FeatureReference, learn_reference
from detectors.season import DAY_SECONDS, choose, fit, local_seconds
from detectors.window import Window
from tests.simulated import mixed, numbers

sane = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 6))
finite = st.floats(allow_nan=False, allow_infinity=False)


def pooled(feature: Feature, rows: int) -> Pooled:
    """Return a feature of one window, pooled."""
    return pool([Window("m", "", "features", 0, 0.0, 60.0, 0, 0, rows, {"x": feature})])["x"]


def reference_of(values: list[float]) -> FeatureReference:
    """Return the reference of a single window with those values."""
    return learn_reference([pooled(numbers(np.array([values]))[0], len(values))])


@given(st.lists(finite, min_size=1, max_size=300), st.lists(finite, min_size=1, max_size=20))
def test_scores_are_bounded_and_monotone(learned: list[float], asked: list[float]) -> None:
    """Whatever the values, a score is finite, within +-2.9, and never falls when the value rises."""
    scores = reference_of(learned).normal_scores(np.sort(np.array(asked)))
    assert np.all(np.abs(scores) < 2.9)
    assert np.all(np.diff(scores) >= 0)


@given(st.lists(sane, min_size=2, max_size=64), st.lists(sane, min_size=1, max_size=10), st.integers(-20, 20), st.integers(-3, 3))
def test_scores_do_not_know_the_unit(learned: list[float], asked: list[float], power: int, shift: int) -> None:
    """Another unit with another zero (exact in binary) gives the same scores."""
    scale = 2.0**power
    grid = [float(round(value)) for value in learned]
    ask = np.array([float(round(value)) for value in asked])
    moved = reference_of([value * scale + shift * scale for value in grid])
    assert np.array_equal(reference_of(grid).normal_scores(ask), moved.normal_scores(ask * scale + shift * scale))


@given(st.lists(sane, min_size=2, max_size=200))
def test_scores_turn_with_the_sign(learned: list[float]) -> None:
    """Negated values have negated scores, but for the quantiles that the sample has no exact ones for."""
    one, other = reference_of(learned), reference_of([-value for value in learned])
    ask = np.array(learned)
    assert np.allclose(one.normal_scores(ask), -other.normal_scores(-ask), atol=0.05)


@pytest.mark.parametrize("values", [[0.0, 1.0] * 200, [0.0] * 390 + [1.0] * 10, list(range(5)) * 80, [3.0] * 100])
def test_ties_are_harmless(values: list[float]) -> None:
    """Discrete values get middle ranks: the mean score of the reference itself is about zero."""
    reference = reference_of(list(map(float, values)))
    scores = reference.normal_scores(np.array(values, dtype=float))
    assert abs(scores.mean()) < 0.15
    assert len(set(scores)) == len(set(values))


def test_the_scores_of_a_gaussian_are_its_deviations() -> None:
    """Standard values get themselves as scores, to a few hundredths, up to two deviations out."""
    values = np.random.default_rng(1).normal(size=(200, 64)) * 7 + 100
    reference = learn_reference([pooled(feature, 64) for feature in numbers(values)])
    ask = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert np.allclose(reference.normal_scores(ask * 7 + 100), ask, atol=0.06)
    assert reference.mean == pytest.approx(100, abs=0.3)
    assert len(reference.quantiles) == QUANTILES


@given(st.lists(finite, min_size=1, max_size=200), finite)
def test_distances_are_zero_inside_and_never_negative(learned: list[float], asked: float) -> None:
    """Within the extremes nothing is far; outside the distance is positive, up to infinity for a constant feature."""
    reference = reference_of(learned)
    (distance,) = reference.distances(np.array([asked]))
    assert (distance == 0.0) == (min(learned) <= asked <= max(learned)) or distance < 1e-9
    assert distance >= 0


def test_the_extremes_are_those_of_all_values() -> None:
    """Long windows keep quantiles only, but their least and greatest values are remembered: they are not outside."""
    values = np.random.default_rng(2).normal(size=(5, 5000))
    reference = learn_reference([pooled(feature, 5000) for feature in numbers(values)])
    assert (reference.quantiles[0], reference.quantiles[-1]) == (values.min(), values.max())


def test_the_largest_doubles_have_scores_and_a_mean() -> None:
    """1e308 and -1e308 overflow nothing."""
    reference = reference_of([1e308, -1e308, 1.0, 1.5e308] * 30)
    assert np.isfinite(reference.mean)
    assert np.all(np.isfinite(reference.normal_scores(np.array([1.7e308, -1.7e308, 0.0]))))


def test_categories_are_ranked_and_the_rest_is_one_share() -> None:
    """Shares add up to one; what is known says in how many windows it was seen."""
    feature = mixed([[f"c{index // 3}" for index in range(240)]])[0]
    reference = learn_reference([pooled(feature, 240)] * 2)
    assert sum(reference.shares.values()) + reference.other == pytest.approx(1.0)
    assert (len(reference.shares), len(reference.known), set(reference.known.values())) == (50, 80, {2})


def test_known_categories_are_bounded() -> None:
    """A feature of ids cannot fill the memory."""
    parts = [pooled(mixed([[f"{window}-{index}" for index in range(100)]])[0], 100) for window in range(60)]
    assert len(learn_reference(parts).known) == KNOWN_CATEGORIES


def test_a_feature_that_was_never_there_has_an_empty_reference() -> None:
    """Nothing but its absence is known of it."""
    reference = learn_reference([absent(10)] * 3)
    assert (len(reference.quantiles), reference.shares, reference.known) == (0, {}, {})


def test_slots_change_with_the_clocks() -> None:
    """Oslo, March 2026: nine o'clock before and after the change is the same slot, an hour apart in UTC."""
    zone = ZoneInfo("Europe/Oslo")
    before, after = datetime(2026, 3, 27, 9, tzinfo=zone), datetime(2026, 3, 30, 9, tzinfo=zone)
    assert before.utcoffset() != after.utcoffset()
    assert [local_seconds(when.timestamp(), "Europe/Oslo") for when in (before, after)] == [4 * DAY_SECONDS + 32400, 32400]
    values = np.array([1.0 if hour == 9 else 0.0 for _ in range(28) for hour in range(24)])
    starts = datetime(2026, 2, 27, tzinfo=zone).timestamp() + 3600.0 * np.arange(28 * 24)
    local = np.array([local_seconds(start, "Europe/Oslo") for start in starts])
    season, _ = fit("slot-of-week", 3600.0, local, values)
    hours = [season.expect(local_seconds(after.timestamp() + 3600.0 * hour, "Europe/Oslo")) for hour in range(-3, 4)]
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
        (1799.0, 30.0, "daily"),
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


def test_a_daily_cycle_is_recovered() -> None:
    """A sine of the day is expected to a few hundredths, at times between the windows too."""
    local = np.arange(0.0, 3 * DAY_SECONDS, 600.0)
    noise = np.random.default_rng(3).normal(size=len(local)) * 0.1
    season, parameters = fit("daily", 600.0, local, np.sin(2 * np.pi * local / DAY_SECONDS) + noise)
    ask = np.array([1234.0, 30_000.0, 80_000.0])
    assert [season.expect(one) for one in ask] == pytest.approx(list(np.sin(2 * np.pi * ask / DAY_SECONDS)), abs=0.05)
    assert parameters == 9


@pytest.mark.parametrize("hours", [1, 2, 3, 5, 7, 24])
def test_every_window_has_a_slot(hours: int) -> None:
    """Widths that do not divide the day too: each window falls into the slot it was learned in."""
    width = hours * 3600.0
    starts = np.arange(0.0, 40 * DAY_SECONDS, width)
    local = np.array([local_seconds(start, "UTC") for start in starts])
    season, _ = fit("slot-of-week", width, local, np.full(len(local), 2.5))
    assert {season.expect(one) for one in local} == {2.5}


def test_days_of_the_week_are_not_smoothed() -> None:
    """With one window a day, Sunday stays Sunday."""
    starts = DAY_SECONDS * np.arange(28)
    local = np.array([local_seconds(start, "UTC") for start in starts])
    season, used = fit("slot-of-week", DAY_SECONDS, local, (local >= 6 * DAY_SECONDS) * 1.0)
    assert [season.expect(day * DAY_SECONDS) for day in range(7)] == [0, 0, 0, 0, 0, 0, 1]
    assert used == 7


def test_only_slots_of_the_week_follow() -> None:
    """A slot goes 15 % of the way to what is seen there; harmonics stay as learned."""
    local = np.arange(0.0, 28 * DAY_SECONDS, DAY_SECONDS) % (7 * DAY_SECONDS)
    season, _ = fit("slot-of-week", DAY_SECONDS, local, np.zeros(28))
    season.follow(0.0, 1.0)
    assert (season.expect(0.0), season.expect(DAY_SECONDS)) == (pytest.approx(0.15), 0.0)
    constant, _ = fit("constant", DAY_SECONDS, local, np.zeros(28))
    constant.follow(0.0, 1.0)
    assert constant.expect(0.0) == 0.0
