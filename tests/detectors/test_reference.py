"""References: normal scores that no unit, tie or tail can upset, and categories of bounded number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.reference.feature_reference import KNOWN_CATEGORIES, QUANTILES, FeatureReference, learn_reference
from tests.support.simulated import mixed, numbers

pytestmark = pytest.mark.fast

sane = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: round(value, 6))
finite = st.floats(allow_nan=False, allow_infinity=False)


def reference_of(values: list[float]) -> FeatureReference:
    """Return the reference of a single window with those values."""
    return learn_reference([numbers(np.array([values]))])


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
    reference = learn_reference([[feature] for feature in numbers(values)])
    ask = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert np.allclose(reference.normal_scores(ask * 7 + 100), ask, atol=0.06)
    assert reference.mean == pytest.approx(100, abs=0.3)
    assert len(reference.quantiles) == QUANTILES


def test_a_mean_score_has_a_mean() -> None:
    """What a Gaussian's mean score is, its mean is; a rate that goes from three tenths to a half is told as a half."""
    values = np.random.default_rng(1).normal(size=(200, 64)) * 7 + 100
    gaussian = learn_reference([[feature] for feature in numbers(values)])
    assert [gaussian.mean_at(score) for score in (-1.0, 0.0, 0.5)] == pytest.approx([93.0, gaussian.mean, 103.5], abs=0.6)
    rate = reference_of([0.0] * 700 + [1.0] * 300)
    half = rate.normal_scores(np.array([0.0, 1.0])).mean()
    assert rate.mean_at(half) == pytest.approx(0.5, abs=0.01)


@given(st.lists(finite, min_size=1, max_size=300), st.floats(-4, 4), st.floats(-4, 4))
def test_a_greater_mean_score_has_no_smaller_mean(learned: list[float], one: float, other: float) -> None:
    """Whatever the values, and never beyond them."""
    reference = reference_of(learned)
    low, high = (reference.mean_at(score) for score in sorted((one, other)))
    assert min(learned) <= low <= high <= max(learned)


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
    reference = learn_reference([[feature] for feature in numbers(values)])
    assert (reference.quantiles[0], reference.quantiles[-1]) == (values.min(), values.max())


def test_the_largest_doubles_have_scores_and_a_mean() -> None:
    """1e308 and -1e308 overflow nothing."""
    reference = reference_of([1e308, -1e308, 1.0, 1.5e308] * 30)
    assert np.isfinite(reference.mean)
    assert np.all(np.isfinite(reference.normal_scores(np.array([1.7e308, -1.7e308, 0.0]))))


def test_categories_are_ranked_and_the_rest_is_one_share() -> None:
    """Shares add up to one; what is known says in how many windows it was seen."""
    feature = mixed([[f"c{index // 3}" for index in range(240)]])[0]
    reference = learn_reference([[feature]] * 2)
    assert sum(reference.shares.values()) + reference.other == pytest.approx(1.0)
    assert (len(reference.shares), len(reference.known), set(reference.known.values())) == (50, 80, {2})


def test_known_categories_are_bounded() -> None:
    """A feature of ids cannot fill the memory."""
    windows = [mixed([[f"{window}-{index}" for index in range(100)]]) for window in range(60)]
    assert len(learn_reference(windows).known) == KNOWN_CATEGORIES


def test_a_feature_that_was_never_there_has_an_empty_reference() -> None:
    """Nothing but its absence is known of it."""
    reference = learn_reference([[]] * 3)
    assert (len(reference.quantiles), reference.shares, reference.known) == (0, {}, {})


@given(st.lists(st.lists(finite, min_size=1, max_size=64), min_size=1, max_size=5))
def test_sources_of_a_window_are_one_window(parts: list[list[float]]) -> None:
    """Numbers that came from several sources give the reference that they would have given from one."""
    together = [value for part in parts for value in part]
    apart = learn_reference([[numbers(np.array([part]))[0] for part in parts]])
    assert (
        apart.quantiles.tolist() == learn_reference([[numbers(np.array([[value]]))[0] for value in together]]).quantiles.tolist()
    )


def test_a_category_in_two_sources_was_seen_in_one_window() -> None:
    """What makes a category known is windows, not the sources that they came from."""
    window = mixed([["NO", "SE"], ["NO"]])
    reference = learn_reference([window, mixed([["NO"]])])
    assert reference.known == {"NO": 2, "SE": 1}
    assert reference.shares == {"NO": 0.75, "SE": 0.25}


def test_a_long_source_outweighs_a_short_one() -> None:
    """6,400 values around 1 and 64 at 2: one value in a hundred and one is 2, in the mean and in the quantiles."""
    parts = [*numbers(np.linspace(0.9, 1.1, 6400)[None]), *numbers(np.full((1, 64), 2.0))]
    reference = learn_reference([parts])
    assert reference.mean == pytest.approx((6400 + 128) / 6464)
    assert (reference.quantiles > 1.5).mean() == pytest.approx(1 / 101, abs=1 / QUANTILES)
