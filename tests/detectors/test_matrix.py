"""A stack of references answers for each column what its reference alone would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.reference.feature_reference import QUANTILES, FeatureReference, learn_reference, scores_of
from detectors.reference.matrix import BINS, ReferenceMatrix, bins_of
from tests.support.simulated import mixed, numbers

pytestmark = pytest.mark.fast

finite = st.floats(allow_nan=False, allow_infinity=False)
#: Ties, the ends of a double, zeros of both signs, the least doubles, and anything else.
any_float = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324, 1.7976931348623157e308]), finite)
samples = st.one_of(st.lists(any_float, min_size=1, max_size=40), any_float.map(lambda constant: [constant] * 3))


def reference_of(values: list[float]) -> FeatureReference:
    """Return the reference of a single window with those values."""
    return learn_reference([numbers(np.array([values]))])


@given(st.lists(samples, min_size=1, max_size=4), st.lists(any_float, min_size=1, max_size=20))
def test_ranks_are_those_of_each_column_alone(columns: list[list[float]], asked: list[float]) -> None:
    """Twice the mid-rank is NumPy's rank from the left and from the right, whatever the floats, and so the normal score."""
    references = {str(number): reference_of(values) for number, values in enumerate(columns)}
    matrix = ReferenceMatrix(references, outlier_beyond=6.0)
    for number, reference in enumerate(references.values()):
        values = np.array([*asked, *reference.quantiles])
        expected = np.searchsorted(reference.quantiles, values, "left") + np.searchsorted(reference.quantiles, values, "right")
        found = matrix.ranks(values, np.full(len(values), number))
        assert found.tolist() == expected.tolist()
        assert scores_of(found).tolist() == reference.normal_scores(values).tolist()


@given(st.lists(samples, min_size=2, max_size=4), st.data())
def test_values_of_all_columns_may_be_asked_together(columns: list[list[float]], data: st.DataObject) -> None:
    """In any order, and the neighbours change nothing."""
    matrix = ReferenceMatrix({str(number): reference_of(values) for number, values in enumerate(columns)}, outlier_beyond=6.0)
    asked = data.draw(st.lists(st.tuples(any_float, st.integers(0, len(columns) - 1)), min_size=1, max_size=20))
    values, places = np.array([value for value, _ in asked]), np.array([place for _, place in asked])
    together = matrix.ranks(values, places)
    alone = [matrix.ranks(values[[one]], places[[one]])[0] for one in range(len(asked))]
    assert together.tolist() == alone


@given(samples)
def test_the_bins_hold_the_reference(values: list[float]) -> None:
    """Their shares are those of the quantiles, none is zero, and so many as have one are counted."""
    reference = reference_of(values)
    matrix = ReferenceMatrix({"x": reference}, outlier_beyond=6.0)
    counted = np.bincount(bins_of(matrix.ranks(reference.quantiles, np.zeros(QUANTILES, dtype=np.intp))), minlength=BINS)
    assert matrix.occupied[0] == (counted > 0).sum() <= min(BINS, reference.distinct)
    assert np.all(matrix.bins > 0)
    assert matrix.bins[counted > 0, 0].tolist() == (counted[counted > 0] / QUANTILES).tolist()


def test_a_continuous_feature_fills_every_bin_alike() -> None:
    """Sixteen bins of a sixteenth each, whatever its distribution."""
    draw = np.random.default_rng(1)
    matrix = ReferenceMatrix(
        {"x": reference_of(draw.normal(size=60).tolist()), "y": reference_of(draw.lognormal(size=6000).tolist())},
        outlier_beyond=6.0,
    )
    assert matrix.occupied.tolist() == [BINS, BINS]
    assert np.abs(matrix.bins - 1 / BINS).max() < 0.02


@pytest.mark.parametrize("columns", [{}, {"nothing": learn_reference([[]])}])
def test_a_stack_may_have_nothing(columns: dict[str, FeatureReference]) -> None:
    """No columns, or one of which nothing is known."""
    matrix = ReferenceMatrix(columns, outlier_beyond=6.0)
    assert not matrix.numeric.any()
    assert not matrix.categorical.any()
    assert len(matrix.owner) == len(matrix.rests) == 0


def test_every_category_has_a_cell() -> None:
    """Each feature with categories has one for each of them and one for all others, whose shares add up to one."""
    references = {
        "country": learn_reference([mixed([["NO"] * 6 + ["SE"] * 4])]),
        "amount": reference_of([1.0, 2.0]),
        "user": learn_reference([mixed([[f"u{index // 2}" for index in range(160)]])]),
    }
    matrix = ReferenceMatrix(references, outlier_beyond=6.0)
    assert matrix.several.tolist() == [3, 0, 51]
    assert matrix.categorical.tolist() == [True, False, True]
    for column, reference in enumerate(references.values()):
        cells = matrix.cells[column]
        assert {name: matrix.shares[cell] for name, cell in cells.items()} == reference.shares
        assert all(matrix.owner[cell] == column for cell in cells.values())
        if reference.shares:
            assert matrix.shares[matrix.rest[column]] == reference.other
            assert matrix.shares[matrix.owner == column].sum() == pytest.approx(1.0)
    assert matrix.rests.tolist() == [matrix.rest[0], matrix.rest[2]]
    assert matrix.rest[1] == -1
