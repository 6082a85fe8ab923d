"""What is measured on a window: near-normal while nothing changes, moved by what it is named after, said in words."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.judging.verdict import describe, largest_share_change, size_of
from detectors.measure.measure import names_for
from detectors.measure.sums import window_sums
from detectors.reference.feature_reference import FeatureReference, learn_reference
from detectors.reference.matrix import ReferenceMatrix
from detectors.statistics import STATISTICS, UPWARDS, StatisticName
from detectors.windows.feature import Feature
from detectors.windows.row import VOLUME, Value
from tests.support.measured import OneMeasure, of, seen_in, taken
from tests.support.simulated import mixed, numbers

pytestmark = pytest.mark.fast

values = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**400), 10**400),
    st.text("abc", max_size=2),
)


def gaussian() -> FeatureReference:
    """Return the reference of a standard normal feature."""
    return learn_reference([[feature] for feature in numbers(np.random.default_rng(1).normal(size=(100, 60)))])


def cities(*, no: int, se: int, others: tuple[str, ...] = ()) -> Feature:
    """Return a window with so many of each city."""
    return mixed([["NO"] * no + ["SE"] * se + list(others)])[0]


GAUSSIAN = gaussian()
CITIES = learn_reference([[cities(no=60, se=40)]] * 10)


@given(st.lists(values, min_size=1, max_size=80), st.lists(values, min_size=1, max_size=80))
def test_any_window_against_any_reference_is_finite(learned: list[Value], asked: list[Value]) -> None:
    """Numbers become words, words become numbers, all is null: statistics and their variances stay finite."""
    reference = learn_reference([mixed([learned])])
    for found in of(mixed([asked])[0], reference).values():
        assert math.isfinite(found.value)
        assert math.isfinite(found.within)
        assert found.within >= 0
        assert found.count > 0


@given(st.lists(values, min_size=1, max_size=80))
def test_only_what_the_reference_has_is_measured(learned: list[Value]) -> None:
    """The statistics of a reference are among those named, in their order, and `missing` is always there."""
    reference = learn_reference([mixed([learned])])
    names = names_for("x", reference)
    assert list(names) == [name for name in STATISTICS if name in names]
    assert names[-1] == "missing"
    assert set(of(mixed([learned])[0], reference)) >= set(names)


def test_location_and_scale_follow_the_feature() -> None:
    """One deviation up moves location by about one, half the spread moves scale alone."""
    rng = np.random.default_rng(2)
    usual = of(numbers(rng.normal(size=(1, 4000)))[0], GAUSSIAN)
    up = of(numbers(rng.normal(size=(1, 4000)) + 1)[0], GAUSSIAN)
    narrow = of(numbers(rng.normal(size=(1, 4000)) / 2)[0], GAUSSIAN)
    assert up["location"].value - usual["location"].value == pytest.approx(1.0, abs=0.1)
    assert narrow["location"].value == pytest.approx(0.0, abs=0.05)
    assert (narrow["scale"].value / usual["scale"].value) ** 1.5 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["location", "scale"])
def test_the_variance_within_a_window_is_the_one_between_windows(name: StatisticName) -> None:
    """For independent events the variance that a window states of its own statistic is what windows show."""
    rng = np.random.default_rng(3)
    found = [of(feature, GAUSSIAN)[name] for feature in numbers(rng.normal(size=(600, 60)))]
    between = np.var([one.value for one in found])
    stated = np.mean([one.within / one.count for one in found])
    assert 0.75 < between / stated < 1.25


@pytest.mark.parametrize("count", [30, 100, 1000])
def test_the_variance_of_shares_does_not_depend_on_the_events(count: int) -> None:
    """G over its degrees of freedom, cube-rooted, has at most the variance 2 / (9 df), and half of it at least."""
    rng = np.random.default_rng(4)
    names = np.array(["a", "b", "c", "d"])
    shares = [0.4, 0.3, 0.2, 0.1]
    reference = learn_reference([mixed([["a"] * 400 + ["b"] * 300 + ["c"] * 200 + ["d"] * 100])])
    found = [of(mixed([rng.choice(names, size=count, p=shares).tolist()])[0], reference)["shares"] for _ in range(400)]
    observed = np.array([one.value for one in found])
    stated = found[0].within / found[0].count
    assert stated == pytest.approx(2 / (9 * 4))
    assert 0.5 < observed.var() / stated < 1.1


def test_rates_are_shares_with_their_binomial_variance() -> None:
    """18 of 60 rows without a value: 0.3, whatever else they hold; none: 0, with no variance."""
    found = of(mixed([[None] * 18 + [0.0] * 42])[0], GAUSSIAN)["missing"]
    assert (found.value, found.within, found.count) == (pytest.approx(0.3), pytest.approx(0.21), 60)
    assert of(mixed([[0.0] * 60])[0], GAUSSIAN)["missing"] == OneMeasure(0.0, 0.0, 60)
    matrix = ReferenceMatrix({"x": GAUSSIAN}, outlier_beyond=6.0)
    absent = window_sums([{}, {}], 7, matrix)
    assert taken(absent, matrix) == {"missing": OneMeasure(1.0, 0.0, 7)}


@pytest.mark.parametrize("count", [5, 50, 500, 5000])
def test_a_rare_rate_has_the_same_mean_at_any_traffic(count: int) -> None:
    """A change of traffic is not a change of rate: the mean of the statistic is the rate itself."""
    rng = np.random.default_rng(5)
    hits = rng.binomial(count, 0.01, size=200_000 // count)
    different, times = np.unique(hits, return_counts=True)
    found = [of(mixed([[None] * hit + ["a"] * (count - hit)])[0], CITIES)["missing"].value for hit in different.tolist()]
    assert np.average(found, weights=times) == pytest.approx(0.01, abs=0.002)


def test_new_categories_and_outliers_are_shares() -> None:
    """Three of 103 events are in a new category; one value of 60 lies far outside."""
    assert of(cities(no=60, se=40, others=("XK",) * 3), CITIES)["unseen"].value == pytest.approx(3 / 103)
    assert of(numbers(np.array([[0.0] * 59 + [50.0]]))[0], GAUSSIAN)["outliers"].value == pytest.approx(1 / 60)


@pytest.mark.parametrize("constant", [0.0, 7.0, -1e308])
def test_a_constant_feature_that_moves_is_far_outside(constant: float) -> None:
    """It has no spread of its own, so any other value is an outlier, and the location moves as well."""
    reference = learn_reference([[feature] for feature in numbers(np.full((10, 20), constant))])
    assert names_for("x", reference) == ("location", "outliers", "missing")
    moved = of(numbers(np.full((1, 20), constant + max(1.0, abs(constant) / 2)))[0], reference)
    assert (moved["outliers"].value, moved["location"].value > 2.5) == (1.0, True)
    same = of(numbers(np.full((1, 20), constant))[0], reference)
    assert (same["outliers"].value, same["location"].value) == (0.0, 0.0)


def words(
    statistic: StatisticName, found: Feature, reference: FeatureReference, expected: float, *, is_error: bool = False
) -> str:
    """Return the words of a verdict about a window."""
    value = of(found, reference)[statistic].value
    seen = seen_in(found, reference)
    return describe(statistic, value=value, expected=expected, seen=seen, reference=reference, is_error=is_error)


def size(statistic: StatisticName, found: Feature, reference: FeatureReference, expected: float) -> float:
    """Return how large the change in a window is."""
    value = of(found, reference)[statistic].value
    return size_of(statistic, value=value, expected=expected, seen=seen_in(found, reference), reference=reference)


def test_words_say_what_changed() -> None:
    """Each statistic has its sentence, with numbers in the user's own unit where there is one."""
    shifted = numbers(np.random.default_rng(6).normal(size=(1, 4000)) + 1)[0]
    assert words("location", shifted, GAUSSIAN, 0.0).startswith("mean up 1.0 sd, from ")
    wide = numbers(np.array([np.linspace(-2.5, 2.5, 60)]))[0]
    assert words("scale", wide, GAUSSIAN, 1.0) == "spread x1.4"
    assert words("missing", mixed([[None] * 31 + [0.0] * 69])[0], GAUSSIAN, 0.002) == "31 % null, was 0.2 %"
    assert words("missing", mixed([[None] * 31 + [0.0] * 69])[0], GAUSSIAN, -1e-18) == "31 % null, was 0 %"
    assert words("unseen", cities(no=60, se=30, others=("XK",) * 10), CITIES, 0.0) == "10 % in new categories XK, was 0 %"
    assert words("shares", cities(no=80, se=10, others=("XK",) * 10), CITIES, 0.0) == 'share of "SE" 10 %, was 40 %'
    assert words("outliers", numbers(np.array([[99.0] * 3 + [0.0] * 57]))[0], GAUSSIAN, 0.0) == (
        "5 % far outside the reference, was 0 %"
    )
    errors = learn_reference([mixed([[1.0] * 10 + [0.0] * 90])])
    worse = mixed([[1.0] * 30 + [0.0] * 70])[0]
    assert words("location", worse, errors, 0.0, is_error=True) == "error up, from 0.1 to 0.3"


def test_words_do_not_contradict_their_numbers() -> None:
    """Where most values rise and a few fall far, the mean is told beside; a spread of nothing is told in words."""
    mixed_up = numbers(np.array([[1.0] * 56 + [-100.0] * 4]))[0]
    assert re.fullmatch(r"most values up 0\.\d sd, mean -5\.733, was -?0\.\d+", words("location", mixed_up, GAUSSIAN, 0.0))
    beyond = numbers(np.array([np.linspace(90, 99, 60)]))[0]
    assert words("scale", beyond, GAUSSIAN, 1.0) == "all values about the same, or all beyond the reference"


def test_words_of_a_shape_and_of_a_volume() -> None:
    """A shape has no number of its own, so the means are said; a volume is said in rows."""
    halves = numbers(np.array([[-1.0] * 30 + [1.0] * 30]))[0]
    assert words("shape", halves, GAUSSIAN, 1.0).startswith("distribution changed its shape, mean 0, was ")
    seen = seen_in(mixed([[]])[0], GAUSSIAN)
    said = describe("volume", value=math.log1p(5), expected=math.log1p(60), seen=seen, reference=GAUSSIAN, is_error=False)
    assert said == "5 rows in a window, was 60"


def test_the_size_of_a_large_change_is_one() -> None:
    """One deviation, half or double the spread or the rows, a quarter of the values: one, however many events tell it."""
    for events in (400, 4000):
        draw = np.random.default_rng(7).normal(size=(1, events))
        usual = of(numbers(draw)[0], GAUSSIAN)
        assert size("location", numbers(draw + 1)[0], GAUSSIAN, usual["location"].value) == pytest.approx(1.0, abs=0.1)
        assert size("scale", numbers(draw / 2)[0], GAUSSIAN, usual["scale"].value) == pytest.approx(1.0, abs=0.1)
    seen = seen_in(cities(no=1, se=1), CITIES)
    for rows in (29, 119):
        volume = size_of("volume", value=math.log1p(rows), expected=math.log1p(59), seen=seen, reference=CITIES)
        assert volume == pytest.approx(1.0)
    assert size("shares", cities(no=35, se=65), CITIES, 1.0) == pytest.approx(1.0)
    assert size("missing", mixed([[None] * 25 + ["NO"] * 75])[0], CITIES, 0.0) == pytest.approx(1.0)
    assert size("shape", numbers(np.array([[-1.0] * 30 + [1.0] * 30]))[0], GAUSSIAN, 1.0) < 1


def test_the_largest_change_is_named() -> None:
    """Of two that changed, the one that changed most; of equals, always the same one."""
    new = seen_in(cities(no=20, se=40, others=("XK",) * 40), CITIES)
    assert largest_share_change(new, CITIES) == ("XK", 0.4, 0.0)
    one, other = seen_in(cities(no=40, se=60), CITIES), seen_in(cities(no=80, se=120), CITIES)
    assert largest_share_change(one, CITIES) == largest_share_change(other, CITIES)


def test_volume_is_the_log_of_the_rows() -> None:
    """It is measured on the model's rows alone, also when there are none, and nothing else is measured beside it."""
    matrix = ReferenceMatrix({VOLUME: learn_reference([[]]), "x": GAUSSIAN}, outlier_beyond=6.0)
    assert names_for(VOLUME, matrix.references[0]) == ("volume",)
    for rows in (0, 1, 59):
        found = taken(window_sums([], rows, matrix), matrix)
        assert found == {"volume": OneMeasure(math.log1p(rows), 1.0, max(1, rows))}
    assert "volume" not in taken(window_sums([], 59, matrix), matrix, 1)


@pytest.mark.parametrize("count", [20, 60, 400])
def test_shape_says_the_same_at_any_number_of_events(count: int) -> None:
    """While nothing changes its mean is that of a cube root of chi-square by its degrees, and its variance at most the stated."""
    rng = np.random.default_rng(8)
    reference = learn_reference([[feature] for feature in numbers(rng.normal(size=(2000, 60)))])
    found = [of(feature, reference)["shape"] for feature in numbers(rng.normal(size=(500, min(count, 64))))]
    if count > 64:  # as they are where two sources or more have so many
        matrix = ReferenceMatrix({"x": reference}, outlier_beyond=6.0)
        parts = numbers(rng.normal(size=(3000, 64)))
        found = [
            taken(window_sums([{"x": one} for one in parts[low : low + 6]], 384, matrix), matrix)["shape"]
            for low in range(0, 3000, 6)
        ]
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(1 - 2 / (9 * 15), abs=0.02)
    assert 0.6 < values.var() / (found[0].within / found[0].count) < 1.25


def test_shape_tells_what_mean_and_spread_do_not() -> None:
    """Two halves with the mean and the spread of the reference: far from its bins, and nowhere else far from it."""
    rng = np.random.default_rng(9)
    usual, halves = rng.normal(size=60), np.where(np.arange(60) % 2, 0.98, -0.98) + rng.normal(size=60) * 0.2
    before, after = of(numbers(usual[None])[0], GAUSSIAN), of(numbers(halves[None])[0], GAUSSIAN)
    deviation = math.sqrt(2 / (9 * 15))
    assert abs(after["location"].value) < 0.3
    assert abs(after["scale"].value - 1) < 0.3
    assert after["shape"].value - before["shape"].value > 3 * deviation


def test_what_counts_as_more_of_the_same_alarms_upwards_only() -> None:
    """A distribution that is more like the reference than usual is no news; less of a mean, a spread or rows may be."""
    assert frozenset({"shape", "outliers", "shares", "unseen"}) == UPWARDS
