"""A window's numbers are summarised without a reference: exact when few differ, small always."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.measure.measure import mean_of
from detectors.measure.sums import NUMBERS, PRESENT, ROWS, WindowSums, window_sums
from detectors.reference.feature_reference import learn_reference
from detectors.reference.matrix import ReferenceMatrix
from detectors.windows.feature import Feature
from detectors.windows.sample import LARGEST, POINTS, Numeric, merged, summarise, summarise_rows

pytestmark = pytest.mark.fast

finite = st.floats(allow_nan=False, allow_infinity=False)


STACK = ReferenceMatrix({"x": learn_reference([[Feature(0, summarise(np.arange(-100.0, 100.0)))]])}, outlier_beyond=6.0)


def together(parts: list[list[float]], *, rows: int | None = None) -> WindowSums:
    """Return the sums of a bucket whose sources have those values of one feature."""
    features = [{"x": Feature(0, summarise(np.array(values)))} if values else {} for values in parts]
    return window_sums(features, rows or sum(map(len, parts)), STACK)


@given(st.lists(finite, min_size=1, max_size=POINTS))
def test_few_values_are_kept_as_they_are(values: list[float]) -> None:
    """Up to POINTS values the summary is the sorted sample, each point standing for one value."""
    found = summarise(np.array(values))
    assert found.values().tolist() == sorted(values)
    assert found.weights().tolist() == [1.0] * len(values)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e308]), min_size=1, max_size=500))
def test_few_different_values_are_counted_exactly(values: list[float]) -> None:
    """However many there are: a rate of 3 in 1,000 is 3 in 1,000."""
    found = summarise(np.array(values))
    counted: dict[float, float] = {}
    for value, weight in zip(found.values(), found.weights(), strict=True):
        counted[value] = counted.get(value, 0.0) + weight
    assert counted == {value: values.count(value) for value in set(values)}


@given(st.lists(finite, min_size=1, max_size=400))
def test_a_summary_is_bounded_finite_and_ordered(values: list[float]) -> None:
    """At most POINTS ascending points between the extremes, no overflow, all values accounted for."""
    found = summarise(np.array(values))
    points = found.values()
    assert len(points) <= POINTS
    assert np.all(np.isfinite(points))
    assert np.all(np.diff(points / 2) >= 0)
    assert found.low <= points[0] <= points[-1] <= found.high
    assert found.n == len(values) == pytest.approx(found.weights().sum())
    assert -LARGEST <= found.total <= LARGEST
    assert 0 <= found.squares <= LARGEST


@given(st.lists(finite, min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], random: object) -> None:
    """The same values in another order have the same points."""
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = summarise(np.array(values) + 0.0), summarise(np.array(shuffled) + 0.0)
    assert (one.points, one.counts) == (other.points, other.counts)


def test_a_small_change_far_from_zero_is_seen() -> None:
    """1000 +- 1 keeps its resolution: the points follow the quantiles within a few hundredths."""
    values = 1000 + np.random.default_rng(1).normal(size=20_000)
    points = summarise(values).values()
    wanted = np.quantile(values, (np.arange(POINTS) + 0.5) / POINTS)
    assert np.max(np.abs(points - wanted)) < 0.01
    assert points.std() == pytest.approx(1.0, abs=0.05)


def test_the_largest_doubles_do_not_overflow() -> None:
    """Quantiles between -1e308 and 1e308 are finite, and so is the mean over parts."""
    values = [1e308, -1e308] * 40 + [1e306 * step for step in range(-100, 101)]
    found = summarise(np.array(values))
    assert np.all(np.isfinite(found.values()))
    assert abs(mean_of(together([values, [1e308] * 90]), 0)) <= 1e308
    assert 0 < mean_of(together([[1e308] * 90, [1e308] * 90]), 0) <= 1e308


@given(st.lists(st.lists(finite, min_size=1, max_size=POINTS), min_size=1, max_size=5))
def test_parts_are_united_by_weight(parts: list[list[float]]) -> None:
    """Sources together hold all values of each, bin by bin, and none is missing."""
    found = together(parts)
    every = [value for values in parts for value in values]
    assert found.sums[[NUMBERS, PRESENT, ROWS], 0].tolist() == [len(every)] * 3
    one_by_one = [together([[value]]).bins for value in every]
    assert found.bins.tolist() == np.sum(one_by_one, axis=0).tolist()


def test_a_long_part_outweighs_a_short_one() -> None:
    """6,400 values at 1 and 64 at 2: the mean is that of all values, not of the points."""
    found = together([list(np.linspace(0.9, 1.1, 6400)), [2.0] * 64])
    assert mean_of(found, 0) == pytest.approx((6400 + 128) / 6464)
    assert found.sums[NUMBERS, 0] == 6464


def test_a_part_without_the_feature_counts_as_missing() -> None:
    """Three rows elsewhere without it: three missing."""
    found = together([[1.0, 2.0], []], rows=5)
    assert found.sums[[ROWS, PRESENT, NUMBERS], 0].tolist() == [5, 2, 2]
    assert together([[]], rows=4).sums[[ROWS, PRESENT, NUMBERS], 0].tolist() == [4, 0, 0]


def test_counts_that_do_not_fit_the_points_are_refused() -> None:
    """Bytes from elsewhere: a record whose counts do not match its points cannot be decoded."""
    wrong = msgspec.msgpack.encode([3, 0.0, 0.0, 0.0, 0.0, bytes(16), bytes(8)])
    with pytest.raises(msgspec.ValidationError, match="8 bytes of counts for 16 bytes of points"):
        msgspec.msgpack.decode(wrong, type=Numeric)
    wrong = msgspec.msgpack.encode([3, 0.0, 0.0, 0.0, 0.0, bytes(8), np.array([np.nan]).tobytes()])
    with pytest.raises(msgspec.ValidationError, match="counts that do not add up to 3"):
        msgspec.msgpack.decode(wrong, type=Numeric)


@given(st.integers(1, 12), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_many_features_at_once_are_summarised_as_each_alone(features: int, rows: int, seed: int) -> None:
    """To the bit, whatever stands in the rows beside it."""
    draw = np.random.default_rng(seed)
    values = draw.choice([draw.normal(size=(features, rows)) * 1e3, draw.integers(-2, 3, size=(features, rows)) * 1.0])
    assert summarise_rows(values) == [summarise(row) for row in values]
    assert summarise_rows(np.asfortranarray(values)) == summarise_rows(values)


def test_long_rows_are_summarised_as_each_alone() -> None:
    """Also where sums are made in several steps."""
    for rows in (4096, 8191, 8193, 70_001):
        values = np.random.default_rng(rows).normal(size=(3, rows))
        assert summarise_rows(values) == [summarise(row) for row in values]


@given(st.lists(finite, min_size=1, max_size=200), st.lists(finite, min_size=1, max_size=200))
def test_merged_summaries_are_summaries(first: list[float], second: list[float]) -> None:
    """Counts add up, extremes are kept, points stay ascending, finite and within them, and few values stay exact."""
    both = merged(summarise(np.array(first)), summarise(np.array(second)))
    values = [*first, *second]
    assert both.n == len(values) == pytest.approx(both.weights().sum())
    assert (both.low, both.high) == (min(values), max(values))
    points = both.values()
    assert 0 < len(points) <= POINTS
    assert np.all(np.isfinite(points))
    assert np.all(np.diff(points / 2) >= 0)
    assert both.low <= points[0] <= points[-1] <= both.high
    if len(set(values)) <= POINTS and max(len(first), len(second)) <= POINTS:
        counts = dict(zip(points.tolist(), both.weights().tolist(), strict=True))
        assert counts == {value: values.count(value) for value in {value + 0.0 for value in values}}
