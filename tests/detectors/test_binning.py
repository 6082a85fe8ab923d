"""Mid-quantiles give the number of values in each bin, to a fraction of a mid-quantile's share, at any number of values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.arrays import Floats
from detectors.measure.binning import bins_of_mid_quantiles
from detectors.measure.measure import measure
from detectors.measure.sums import window_sums
from detectors.reference.feature_reference import QUANTILES, FeatureReference, learn_reference
from detectors.reference.matrix import BINS, ReferenceMatrix, bins_of
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.statistics import place_of
from detectors.windows.feature import Feature
from detectors.windows.sample import POINTS, summarise, summarise_rows
from tests.support.simulated import alerts, history, numbers, watched

pytestmark = pytest.mark.fast

finite = st.floats(allow_nan=False, allow_infinity=False)
#: Anything, few different values, and what a difference of overflows or vanishes.
held = st.one_of(
    st.lists(finite, min_size=1, max_size=POINTS),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=POINTS),
    st.lists(st.sampled_from([1.7e308, -1.7e308, 5e-324, 1e-323, -5e-324, 0.0]), min_size=1, max_size=POINTS),
).map(sorted)


def reference_of(values: Floats) -> FeatureReference:
    """Return the reference of windows that are short enough to be exact."""
    parts = summarise_rows(values.reshape(-1, 50)) if len(values) % 50 == 0 else [summarise(values)]
    return learn_reference([[Feature(0, part)] for part in parts])


def in_bins(points: list[list[float]], n: list[int], columns: list[int], matrix: ReferenceMatrix) -> Floats:
    """Return how many values of each sample lie in each bin."""
    lengths, places = np.array([len(one) for one in points]), np.array(columns)
    values = np.concatenate([np.array(one) for one in points])
    ranks = matrix.ranks(values, np.repeat(places, lengths))
    found, added = bins_of_mid_quantiles(values, ranks, lengths=lengths, n=np.array(n) * 1.0, columns=places, matrix=matrix)
    assert np.isfinite(added).all()
    return found


def between(values: list[float]) -> FeatureReference:
    """Return a reference whose quantiles lie on lines between ascending values."""
    halves = np.interp(np.linspace(0, len(values) - 1, QUANTILES), np.arange(len(values)), np.array(values) / 2)
    return FeatureReference(halves * 2, shares={}, other=0.0, known={}, mean=0.0)


@given(held, held, st.integers(POINTS + 1, 10**6), st.booleans())
def test_an_edge_lies_within_a_share_of_its_points(learned: list[float], points: list[float], n: int, smooth: bool) -> None:
    """So no point mass is torn, bins hold what there is and nothing less than nothing: whatever the values and the reference."""
    reference = between(learned) if smooth else reference_of(np.array(learned))
    holds(ReferenceMatrix({"x": reference}, outlier_beyond=6.0), points, n)


HEAPS = ReferenceMatrix(
    {"x": learn_reference([[one] for one in numbers(np.random.default_rng(6).normal(size=(30, 20_000)))])}, outlier_beyond=6.0
)


@given(st.lists(st.tuples(st.integers(1, BINS - 1), st.floats(-1, 2)), min_size=1, max_size=POINTS))
def test_points_about_the_edges_of_heaps_are_held(places: list[tuple[int, float]]) -> None:
    """A reference of mid-quantiles has heaps beside each edge, and a sample may have points on either side of them."""
    quantiles, heap = HEAPS.quantiles[0], QUANTILES // BINS
    values = [quantiles[heap * edge - 1] + at * (quantiles[heap * edge] - quantiles[heap * edge - 1]) for edge, at in places]
    holds(HEAPS, sorted(values), 6400)


def holds(matrix: ReferenceMatrix, points: list[float], n: int) -> None:
    """See that bins hold a sample, and that an edge is within a mid-quantile's share of its points."""
    found = in_bins([points], [n], [0], matrix)[:, 0]
    assert found.min() >= 0
    assert found.sum() == pytest.approx(n)
    whole = np.bincount(bins_of(matrix.ranks(np.array(points), np.zeros(len(points), dtype=np.intp))), minlength=BINS)
    share = n / len(points)
    assert np.abs(np.cumsum(found) - share * np.cumsum(whole)).max() <= share * (1 + 1e-9)


@given(st.lists(st.tuples(held, st.integers(POINTS + 1, 10**6), st.integers(0, 1)), min_size=1, max_size=4))
def test_samples_are_counted_as_each_alone(samples: list[tuple[list[float], int, int]]) -> None:
    """To the bit, whatever stands beside it."""
    draw = np.random.default_rng(1)
    matrix = ReferenceMatrix(
        {"x": reference_of(draw.normal(size=60)), "y": reference_of(draw.integers(-2, 3, size=60) * 1.0)}, outlier_beyond=6.0
    )
    together = in_bins(*(list(held) for held in zip(*samples, strict=True)), matrix)
    for number, (points, n, column) in enumerate(samples):
        assert together[:, number].tobytes() == in_bins([points], [n], [column], matrix)[:, 0].tobytes()


@pytest.mark.parametrize("of", [np.exp, np.tanh, np.cbrt])
def test_a_sample_like_the_reference_fills_its_bins_alike(of: Callable[[Floats], Floats]) -> None:
    """However skew or dense: a hundred thousand values miss a sixteenth each by less than chance moves it."""
    values = of(np.random.default_rng(2).normal(size=100_000))
    found = in_bins(
        [summarise(values).values().tolist()], [100_000], [0], ReferenceMatrix({"x": reference_of(values)}, outlier_beyond=6.0)
    )
    assert np.abs(found - 100_000 / BINS).max() < 40


def test_a_sample_elsewhere_is_in_the_outermost_bin() -> None:
    """Nothing of it lies where its points do not; point masses at both ends of a reference end where it does."""
    draw = np.random.default_rng(7)
    values = np.concatenate([np.zeros(1000), draw.random(1000), np.ones(1000)])
    for matrix in (HEAPS, ReferenceMatrix({"x": reference_of(draw.permutation(values))}, outlier_beyond=6.0)):
        for shift, outermost in ((9.0, BINS - 1), (-9.0, 0)):
            found = in_bins([np.linspace(shift, shift + 1, POINTS).tolist()], [1000], [0], matrix)[:, 0]
            assert found[outermost] == pytest.approx(1000)
    inside = in_bins([summarise(values).values().tolist()], [3000], [0], matrix)[:, 0]
    assert inside[matrix.bins[:, 0] < 1 / QUANTILES].tolist() == [0.0] * (BINS - matrix.occupied[0])


def test_the_least_doubles_are_held() -> None:
    """Quantiles of which the difference is as small as can be have a place each, and no value between them is nowhere."""
    quantiles = np.arange(QUANTILES) * 1e-323
    matrix = ReferenceMatrix({"x": FeatureReference(quantiles, shares={}, other=0.0, known={}, mean=0.0)}, outlier_beyond=6.0)
    holds(matrix, (np.arange(POINTS) * 2e-323 + 5e-324).tolist(), 640)


def test_a_bin_of_less_than_a_share_leaves_the_shape_finite() -> None:
    """Lines take more from the variance of such a bin than it has: what differs from the reference still differs."""
    quantiles = np.array([0.0] * 128 + [0.5] + [1.0] * 127)
    matrix = ReferenceMatrix({"x": FeatureReference(quantiles, shares={}, other=0.0, known={}, mean=0.5)}, outlier_beyond=6.0)
    sums = window_sums([{"x": numbers(np.linspace(-5, -4, 640)[None])[0]}], 640, matrix)
    assert 5 < measure(sums, matrix).value[place_of("shape"), 0] < 50


def test_a_point_mass_is_one_piece() -> None:
    """About a third of zeros, and no multiple of a mid-quantile's share: its bin holds these only, to a fifth of a share."""
    draw = np.random.default_rng(3)
    matrix = ReferenceMatrix(
        {"x": reference_of(draw.permutation(np.concatenate([np.zeros(100_000), draw.normal(size=200_000)])))}, outlier_beyond=6.0
    )
    zero = int(bins_of(matrix.ranks(np.zeros(1), np.zeros(1, dtype=np.intp)))[0])
    missed = []
    for zeros in range(1500, 2500, 10):
        values = np.sort(np.concatenate([np.zeros(zeros), draw.normal(size=4000)]))
        found = in_bins([summarise(values).values().tolist()], [len(values)], [0], matrix)[:, 0]
        missed.append((found[zero] - zeros) * POINTS / len(values))
    assert np.sqrt(np.square(missed).mean()) < 0.25  # whole shares: 0.4


def gaussian(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Bell-shaped."""
    return draw.normal(size=shape)


def log_normal(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Skew."""
    return draw.lognormal(size=shape)


def hundred(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A hundred different values: point masses that are smaller than a mid-quantile's share."""
    return draw.integers(0, 100, size=shape) * 1.0


def third_of_zeros(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A point mass among others of many mid-quantiles."""
    return np.where(draw.random(shape) < 1 / 3, 0.0, draw.lognormal(size=shape))


@pytest.mark.parametrize("drawn", [gaussian, log_normal, hundred, third_of_zeros])
@pytest.mark.parametrize("learned", [(10_000, 60), (100, 10_000)])
def test_the_shape_says_the_same_at_any_number_of_values(
    drawn: Callable[[np.random.Generator, tuple[int, int]], Floats], learned: tuple[int, int]
) -> None:
    """From 65 values to 20,000 its mean is that of a cube root of chi-square by its degrees, and so is its spread.

    Also if its reference was learned from mid-quantiles, which leave nothing between them.
    """
    draw = np.random.default_rng(4)
    parts = summarise_rows(drawn(draw, learned))
    matrix = ReferenceMatrix({"x": learn_reference([[Feature(0, part)] for part in parts])}, outlier_beyond=6.0)
    variance = 2 / (9 * (matrix.occupied[0] - 1))
    for count in (65, 300, 3000, 20_000):
        windows = [{"x": Feature(0, part)} for part in summarise_rows(drawn(draw, (100, count)))]
        sums = [window_sums([one], count, matrix) for one in windows]
        found = np.array([measure(one, matrix).value[place_of("shape"), 0] for one in sums])
        assert abs(found.mean() - (1 - variance)) < 0.75 * np.sqrt(variance), count
        assert 0.7 < found.std() / np.sqrt(variance) < 1.3, count


def test_less_traffic_is_no_news() -> None:
    """From twenty thousand values a window to fifty: nothing is raised of features that stay as they are."""
    draw = np.random.default_rng(5)
    spec = ModelSpec("m", window_seconds=60.0, false_alarms_per_week=500.0, reference=ReferenceSpec(seconds=5400.0))
    columns = {
        f"{drawn.__name__}-{number}": [one for count in (20_000, 50) for one in numbers(drawn(draw, (90, count)))]
        for drawn in (gaussian, hundred, third_of_zeros)
        for number in range(2)
    }
    _, findings = watched(spec, history(spec, columns))
    assert alerts(findings) == []
