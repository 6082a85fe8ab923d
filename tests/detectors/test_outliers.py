"""Outliers: single events far outside the reference, a few of them for each window, with what made them so."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.outlier import Outlier, Outliers
from detectors.reference.feature_reference import FeatureReference, learn_reference
from detectors.windows.row import Row, Value
from tests.support.simulated import numbers

pytestmark = pytest.mark.fast


def reference(values: np.ndarray) -> FeatureReference:
    """Return the reference of one feature, shape (windows, events)."""
    return learn_reference([[found] for found in numbers(values)])


RNG = np.random.default_rng(1)
NORMAL = reference(RNG.normal(size=(50, 60)))
CONSTANT = reference(np.full((50, 60), 7.0))
REFERENCES = {"x": NORMAL, "y": NORMAL, "c": CONSTANT, **{f"f{index}": NORMAL for index in range(9)}}


def finder(per_window: int = 10) -> Outliers:
    """Return a finder for one partition with windows of a minute."""
    return Outliers(partition=3, window_seconds=60.0, beyond=6.0, per_window=per_window)


def row(offset: int, ts: float = 0.0, **values: Value) -> Row:
    """Return an event."""
    return Row(offset, "m", ts, "eu", values)


def find(found: Outliers, event: Row) -> tuple[bool, Outlier | None]:
    """Look at one event."""
    return found.find(event, "v1", REFERENCES)


def test_what_lies_far_outside_is_written_with_its_place() -> None:
    """Where it was, which reference it was held against, which feature, and how far out."""
    is_outlier, written = find(finder(), row(17, 65.0, x=50.0, y=0.5))
    assert is_outlier
    assert written is not None
    assert (written.partition, written.offset, written.segment, written.ts, written.reference) == (3, 17, "eu", 65.0, "v1")
    assert [(feature.name, feature.value) for feature in written.features] == [("x", 50.0)]
    assert written.features[0].distance > 20


@pytest.mark.parametrize("values", [{"x": 3.0}, {"x": -2.9, "y": 0.0}, {"c": 7.0}, {"unknown": 1e9}, {}])
def test_what_lies_inside_or_is_unknown_is_nothing(values: dict[str, Value]) -> None:
    """Extremes of the reference, features without one, and empty events are no outliers."""
    assert find(finder(), row(0, 0.0, **values)) == (False, None)


@pytest.mark.parametrize("value", [None, True, "far", math.nan, math.inf, -math.inf])
def test_only_numbers_can_be_far(value: Value) -> None:
    """Null, booleans, words and what is no number are counted elsewhere."""
    assert find(finder(), row(0, x=value)) == (False, None)


def test_a_constant_feature_that_moves_is_far() -> None:
    """Any other value is infinitely far, and reported with a finite number."""
    _, written = find(finder(), row(0, c=7.0000001))
    assert written is not None
    assert written.features[0].distance == 1e6


@given(st.one_of(st.floats(), st.integers(-(10**400), 10**400)))
def test_any_number_can_be_asked(value: float) -> None:
    """Integers beyond a double too; what is written can be sent as JSON."""
    for name in ("x", "c"):
        is_outlier, written = find(finder(), row(0, 0.0, **{name: value}))
        assert is_outlier == (written is not None)
        if written is not None:
            assert math.isfinite(written.features[0].distance)
            assert msgspec.json.encode(written.features[0].distance)


def test_the_five_farthest_features_are_named() -> None:
    """Of nine features far outside, the farthest five, farthest first; equals by name."""
    values: dict[str, Value] = {f"f{index}": 50.0 + 10 * (index % 5) for index in range(9)}
    _, written = find(finder(), row(0, 0.0, **values))
    assert written is not None
    assert [feature.name for feature in written.features] == ["f4", "f3", "f8", "f2", "f7"]


def test_a_window_has_no_more_than_its_limit() -> None:
    """All are counted, the first few of each window are written."""
    found = finder(per_window=3)
    results = [find(found, row(offset, ts, x=99.0)) for offset, ts in enumerate([1.0] * 5 + [61.0] * 5)]
    assert all(is_outlier for is_outlier, _ in results)
    assert [written.offset for _, written in results if written is not None] == [0, 1, 2, 5, 6, 7]


def test_a_late_event_does_not_begin_a_window_again() -> None:
    """An old event among newer ones counts against the window that is on."""
    found = finder(per_window=2)
    times = [61.0, 1.0, 62.0, 2.0, 63.0]
    assert sum(find(found, row(offset, ts, x=99.0))[1] is not None for offset, ts in enumerate(times)) == 2


def test_a_limit_of_nothing_writes_nothing() -> None:
    """They are still counted."""
    assert find(finder(per_window=0), row(0, x=99.0)) == (True, None)


def test_the_id_is_that_of_the_event() -> None:
    """The same event has the same id in every run; another offset has another."""
    ids = [written.id for offset in (1, 1, 2) if (written := find(finder(), row(offset, x=99.0))[1]) is not None]
    assert ids[0] == ids[1] != ids[2]


def test_heavy_tails_are_not_full_of_outliers() -> None:
    """Of a log-normal feature as it always was, next to nothing is far outside, however many events a window had."""
    values = RNG.lognormal(size=(30, 3000))
    references = {"x": reference(values)}
    found = finder()
    events = RNG.lognormal(size=20_000)
    far = sum(found.find(row(index, 0.0, x=float(value)), "v1", references)[0] for index, value in enumerate(events))
    assert far <= 5


def test_the_event_is_unchanged() -> None:
    """Looking at an event leaves it as it was."""
    event = row(0, x=99.0, y=None)
    find(finder(), event)
    assert event == row(0, x=99.0, y=None)
