"""Sums of a window: they add up over parts and buckets, stay finite, and say the same at any number of events."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.measure.measure import mean_of
from detectors.measure.sums import COARSE, FAR, NAMED, NUMBERS, PRESENT, ROWS, TOTAL, UNSEEN, WindowSums, empty, window_sums
from detectors.reference.feature_reference import FeatureReference, learn_reference
from detectors.reference.matrix import ReferenceMatrix
from detectors.windows.feature import Feature
from detectors.windows.row import Value
from detectors.windows.sample import POINTS
from tests.support.measured import every_column, taken
from tests.support.simulated import mixed, numbers

pytestmark = pytest.mark.fast

sane = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
values = st.one_of(st.none(), st.booleans(), sane, st.sampled_from(["NO", "SE", "XK", "DK"]))
wild = st.one_of(st.none(), st.sampled_from([1.7e308, -1.7e308, 5e-324, 10**400]), st.floats(allow_nan=False), st.text("abc"))

DRAW = np.random.default_rng(1)
NORMAL = learn_reference([[feature] for feature in numbers(DRAW.normal(size=(2000, 60)))])
MIXED = learn_reference([mixed([[1.0, 2.0, 3.0, None, "NO", "SE", "NO", True]])] * 3)
STACK = ReferenceMatrix({"x": MIXED, "y": NORMAL}, outlier_beyond=6.0)


def tallied(parts: list[dict[str, Feature]], rows: int, matrix: ReferenceMatrix = STACK) -> WindowSums:
    """Return the sums of a bucket."""
    return window_sums(parts, rows, matrix)


def same(one: WindowSums, other: WindowSums) -> bool:
    """Tell whether two sums are the same but for the rounding of their additions."""
    fields = ("sums", "bins", "cells")
    return all(np.allclose(getattr(one, field), getattr(other, field), rtol=1e-12, atol=1e-9) for field in fields)


def feature(held: list[Value]) -> Feature:
    """Return a feature of one window."""
    return mixed([held])[0]


@given(st.lists(values, min_size=1, max_size=POINTS), st.lists(values, min_size=1, max_size=POINTS))
def test_sums_of_two_parts_are_those_of_their_union(first: list[Value], second: list[Value]) -> None:
    """Whether two sources had a half each of the rows or one had all of them, a window is the same, if all samples are exact."""
    rows = len(first) + len(second)
    parts = [{"x": feature(first)}, {"x": feature(second)}]
    union = [{"x": feature([*first, *second])}]
    exact = len([one for one in [*first, *second] if type(one) is float]) <= POINTS
    assert same(tallied(parts, rows), tallied(union, rows)) or not exact
    halves = tallied(parts[:1], len(first))
    halves.add(tallied(parts[1:], len(second)))
    assert same(halves, tallied(parts, rows)), "of samples of any length"


@given(st.lists(st.lists(values, min_size=1, max_size=12), min_size=1, max_size=5))
def test_merged_buckets_are_one_wide_bucket(buckets: list[list[Value]]) -> None:
    """The sums of neighbouring buckets are those of a window as wide as all of them, and so is all that is measured."""
    merged = empty(STACK)
    for held in buckets:
        merged.add(tallied([{"x": feature(held)}], len(held)))
    everything = [one for held in buckets for one in held]
    wide = tallied([{"x": feature(everything)}], len(everything))
    assert same(merged, wide)
    one, other = every_column(merged, STACK), every_column(wide, STACK)
    assert one.keys() == other.keys()
    for name, measures in one.items():
        assert measures.keys() == other[name].keys()
        for statistic, found in measures.items():
            assert tuple(found) == pytest.approx(tuple(other[name][statistic]), abs=1e-4)


def test_a_copy_stays_as_it_is() -> None:
    """What is kept of a window does not move when another one is added to it."""
    one = tallied([{"x": feature([1.0, "NO"])}], 2)
    kept = one.copy()
    one.add(one.copy())
    assert same(kept, tallied([{"x": feature([1.0, "NO"])}], 2))
    assert one.sums[ROWS, 0] == 4


#: Mean and standard deviation of a cube root of chi-square over its 15 degrees.
EXPECTED, DEVIATION = 1 - 2 / (9 * 15), np.sqrt(2 / (9 * 15))


def shapes(drawn: np.ndarray, reference: FeatureReference = NORMAL) -> np.ndarray:
    """Return the shape statistic of windows, one each row."""
    matrix = ReferenceMatrix({"x": reference}, outlier_beyond=6.0)
    return np.array([taken(tallied([{"x": one}], drawn.shape[1], matrix), matrix)["shape"].value for one in numbers(drawn)])


@pytest.mark.parametrize("count", [60, 64, 100, 200, 600, 1000, 6000])
def test_coarse_samples_have_the_same_shape(count: int) -> None:
    """Exact samples, and mid-quantiles of up to a hundred values each: of what does not change, mean and spread stay."""
    found = shapes(np.random.default_rng(count).normal(size=(300, count)))
    assert abs(found.mean() - EXPECTED) < 0.5 * DEVIATION
    assert 0.75 * DEVIATION < found.std() < 1.25 * DEVIATION


@pytest.mark.parametrize("count", [200, 2000])
def test_two_humps_are_seen_the_better_the_more_values_tell_them(count: int) -> None:
    """With the mean and the spread of one, they are told by the shape alone: by thousands of values in any window."""
    draw = np.random.default_rng(count)
    signs = draw.choice([-0.8, 0.8], size=(100, count))
    found = shapes(signs + 0.6 * draw.normal(size=(100, count)))
    assert np.median(found) > EXPECTED + {200: 1, 2000: 8}[count] * DEVIATION


def test_a_sample_of_few_different_values_is_not_coarse() -> None:
    """However many there are, their counts are exact; a long sample of many has mid-quantiles, and those of all parts add up."""
    matrix = ReferenceMatrix({"x": NORMAL}, outlier_beyond=6.0)
    flags, many = numbers(np.array([[0.0] * 600 + [1.0] * 40])), numbers(DRAW.normal(size=(2, 640)))
    assert tallied([{"x": flags[0]}], 640, matrix).sums[COARSE, 0] == 0.0
    # Of 15 edges, each with a quarter of a share of ten less variance in two bins of a sixteenth.
    assert tallied([{"x": many[0]}], 640, matrix).sums[COARSE, 0] == pytest.approx(-15 * 2.5 * 32)
    assert tallied([{"x": part} for part in many], 1280, matrix).sums[COARSE, 0] == pytest.approx(-15 * 5 * 32)


def test_exact_samples_beside_long_ones_are_counted_as_alone() -> None:
    """To the bit, in whatever order they come."""
    few, many = feature([0.5, 1.5, 1.5]), numbers(DRAW.normal(size=(1, 640)))[0]
    alone, both = tallied([{"x": few}], 3), tallied([{"x": few, "y": many}], 643)
    assert both.sums[:ROWS, 0].tobytes() == alone.sums[:ROWS, 0].tobytes()
    assert both.bins[:, 0].tobytes() == alone.bins[:, 0].tobytes()
    assert both.bins[:, 1].sum() == pytest.approx(640)


def test_unknown_features_are_left_out() -> None:
    """What has no column changes nothing, whatever it holds."""
    known = {"x": feature([1.0, None, "NO"])}
    with_others = {"new": feature([5.0, "XK"]), **known, "z": feature([None])}
    assert msgspec.msgpack.encode(tallied([with_others], 3).sums.tolist()) == msgspec.msgpack.encode(
        tallied([known], 3).sums.tolist()
    )
    assert not tallied([{"new": feature([5.0])}], 1).sums[:ROWS].any()


def test_what_is_counted_is_exact() -> None:
    """Rows, values, categories, those that the reference lacks, and values far outside."""
    sums = tallied([{"x": feature([1.0, 2.0, "NO", "XK", None]), "y": feature([0.0, 0.0, 60.0])}, {"x": feature(["SE"])}], 6).sums
    assert {row: sums[row].tolist() for row in (NUMBERS, TOTAL, ROWS, PRESENT, NAMED, UNSEEN, FAR)} == {
        NUMBERS: [2, 3],
        TOTAL: [3, 60],
        ROWS: [6, 6],
        PRESENT: [5, 3],
        NAMED: [3, 0],
        UNSEEN: [1, 0],
        FAR: [0, 1],
    }


def test_categories_fall_into_their_cells() -> None:
    """By name as far as the reference has a name for them; the rest is one cell, so that all cells hold what was counted."""
    found = tallied([{"x": feature(["NO", "NO", "XK", "DK", True])}], 5)
    cells = {name: found.cells[cell] for name, cell in STACK.cells[0].items()}
    assert cells == {"NO": 2, "SE": 0, "true": 1}
    assert found.cells[STACK.rest[0]] == 2
    assert found.cells.sum() == found.sums[NAMED].sum()
    beyond = Feature(0, None, {"NO": 1}, other=4)
    assert tallied([{"x": beyond}], 5).cells[STACK.rest[0]] == 4


@given(st.lists(st.lists(wild, min_size=1, max_size=70), min_size=1, max_size=3), st.lists(wild, min_size=1, max_size=40))
def test_any_values_are_finite(windows: list[list[Value]], learned: list[Value]) -> None:
    """In any reference and any buckets merged: the statistics, their variances, and the mean that a verdict tells."""
    references: dict[str, FeatureReference] = {"x": learn_reference([mixed([learned])])}
    matrix = ReferenceMatrix(references, outlier_beyond=6.0)
    merged = empty(matrix)
    for held in windows:
        merged.add(tallied([{"x": feature(held)}, {"x": feature(held)}], 2 * len(held), matrix))
    for measures in every_column(merged, matrix).values():
        for found in measures.values():
            assert np.all(np.isfinite(found))
            assert found.within >= 0
            assert found.count > 0
    if matrix.numeric[0] and merged.sums[NUMBERS, 0]:
        assert np.isfinite(mean_of(merged, 0))
    else:
        assert np.isnan(mean_of(merged, 0))
