"""Windows on their way to wider ones: every row is judged once for each column, in a window of its own stride."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.measure.rollup import Rollup
from detectors.measure.sums import NUMBERS, ROWS, WindowSums, window_sums
from detectors.reference.feature_reference import learn_reference
from detectors.reference.matrix import ReferenceMatrix
from detectors.windows.feature import Feature
from tests.support.simulated import mixed, numbers

pytestmark = pytest.mark.fast

STRIDES = (1, 2, 4, 8, 16)
NUMBER = learn_reference([numbers(np.arange(80.0)[None])])
CITY = learn_reference([mixed([["NO", "SE"]])])

Taken = list[tuple[int, int, list[int], WindowSums]]


def matrix_of(columns: int) -> ReferenceMatrix:
    """Return columns of numbers and of categories, in turn."""
    return ReferenceMatrix({f"f{column}": CITY if column % 2 else NUMBER for column in range(columns)}, outlier_beyond=6.0)


def bucket(place: int, matrix: ReferenceMatrix, rows: int) -> WindowSums:
    """Return the sums of a bucket in which every row holds its number, or a city."""
    held: dict[str, Feature] = {}
    for column, name in enumerate(matrix.names if rows else []):
        (held[name],) = mixed([["NO"] * rows]) if column % 2 else numbers(np.full((1, rows), float(place)))
    return window_sums([held] if rows else [], rows, matrix)


def gathered(rollup_widths: list[int], buckets: dict[int, int]) -> Taken:
    """Return (place, stride, columns, sums) of what can be judged, of buckets with so many rows by their place."""
    matrix, rollup = matrix_of(len(rollup_widths)), Rollup()
    rollup.set(np.array(rollup_widths, dtype=np.float64))
    return [
        (wide.place, wide.rollup_width, np.flatnonzero(wide.columns).tolist(), wide.sums.copy())
        for place, rows in sorted(buckets.items())
        for wide in rollup.add(place, bucket(place, matrix, rows), matrix)
        if wide.columns.any()
    ]


@given(
    st.lists(st.sampled_from(STRIDES), min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 80), st.integers(0, 3), min_size=1, max_size=50),
)
def test_what_goes_in_comes_out_once(rollup_widths: list[int], buckets: dict[int, int]) -> None:
    """For each column: the rows of a wide window are those of its buckets, in order of time, whatever gaps there are."""
    found = gathered(rollup_widths, buckets)
    for column, rollup_width in enumerate(rollup_widths):
        mine = [(place, int(sums.sums[ROWS, column])) for place, _, columns, sums in found if column in columns]
        wanted: dict[int, int] = {}
        for place, rows in sorted(buckets.items()):
            wanted[place // rollup_width * rollup_width] = wanted.get(place // rollup_width * rollup_width, 0) + rows
        last = max(wanted)
        if last + rollup_width - 1 not in buckets:
            del wanted[last]  # waits for a bucket that ends it
        assert mine == list(wanted.items())
    for place, rollup_width, columns, sums in found:
        assert place % rollup_width == 0
        assert all(rollup_widths[column] == rollup_width for column in columns)
        for column in columns:
            rows = sums.sums[ROWS, column]
            counted = sums.bins[:, column].sum() if column % 2 == 0 else sums.cells.reshape(-1, 3)[column // 2].sum()
            assert counted == rows, "bins and cells are those of the same rows"
            assert column % 2 or sums.sums[NUMBERS, column] == rows


def test_a_column_of_stride_one_is_judged_at_once() -> None:
    """It waits for nothing, and no sums are held for it."""
    rollup, matrix = Rollup(), matrix_of(2)
    rollup.set(np.ones(2))
    for place in (3, 4, 9):
        now = bucket(place, matrix, 2)
        (wide,) = rollup.add(place, now, matrix)
        assert (wide.place, wide.rollup_width, wide.sums is now, wide.columns.tolist()) == (place, 1, True, [True, True])
    assert rollup.waiting is None


def test_a_whole_group_is_judged_with_its_last_bucket() -> None:
    """Four buckets of stride four: nothing before the last of them, and then all of them."""
    places = [(place, rollup_width) for place, rollup_width, _, _ in gathered([4], dict.fromkeys(range(4, 7), 1))]
    assert places == []
    (one,) = gathered([4], dict.fromkeys(range(4, 8), 1))
    assert (one[0], one[1], one[3].sums[ROWS, 0]) == (4, 4, 4)


@pytest.mark.parametrize("later", [8, 9, 11, 100])
def test_a_later_bucket_shows_that_the_rest_had_no_rows(later: int) -> None:
    """What waits is judged before anything of the later one is, and as it was."""
    found = gathered([4], {4: 1, 5: 2, later: 3})
    first = found[0]
    assert (first[0], first[3].sums[ROWS, 0]) == (4, 3)
    assert all(place > 4 for place, *_ in found[1:])


def test_what_waits_is_of_bounded_size() -> None:
    """One set of sums, whatever the stride and however many buckets."""
    rollup, matrix = Rollup(), matrix_of(3)
    rollup.set(np.array([16.0, 8.0, 1.0]))
    sizes = set()
    for place in range(100):
        list(rollup.add(place, bucket(place, matrix, 1), matrix))
        assert rollup.waiting is not None
        sizes.add((rollup.waiting.sums.nbytes, rollup.waiting.bins.nbytes, rollup.waiting.cells.nbytes))
    assert len(sizes) == 1


def test_other_widths_begin_anew() -> None:
    """What waited for the old ones is dropped: it was measured against references that may be others now."""
    rollup, matrix = Rollup(), matrix_of(1)
    rollup.set(np.array([4.0]))
    list(rollup.add(0, bucket(0, matrix, 5), matrix))
    rollup.set(np.array([2.0]))
    assert [wide.columns.any() for wide in rollup.add(2, bucket(2, matrix, 1), matrix)] == [False]
    found = [wide.sums.sums[ROWS, 0] for wide in rollup.add(3, bucket(3, matrix, 1), matrix) if wide.columns.any()]
    assert found == [2]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from(STRIDES), st.booleans()), min_size=1, max_size=6),
    st.lists(st.sampled_from(STRIDES), max_size=2),
    st.integers(0, 20),
)
def test_another_reference_of_a_column_costs_the_others_nothing(
    columns: list[tuple[int, bool]], added: list[int], place: int
) -> None:
    """Some columns get other references, with more categories, others come: what comes out of those that stay is the same."""
    rollup_widths = [rollup_width for rollup_width, _ in columns]
    before, rollup = matrix_of(len(columns)), Rollup()
    rollup.set(np.array(rollup_widths, dtype=np.float64))
    (more,) = mixed([["NO", "SE", "DK", "FI"]])
    references = dict(zip(before.names, before.references, strict=True))
    references |= {name: learn_reference([[more]]) for name, (_, anew) in zip(before.names, columns, strict=True) if anew}
    references |= {f"f{len(columns) + number}": CITY for number in range(len(added))}
    after = ReferenceMatrix(references, outlier_beyond=6.0)
    anew = np.array([*(one for _, one in columns), *(True for _ in added)])
    found: list[tuple[int, int, float, float, float]] = []
    for now in range(40):
        if now == place:
            rollup.exchange(np.array([*rollup_widths, *added], dtype=np.float64), anew, before, after)
        matrix = before if now < place else after
        for wide in rollup.add(now, bucket(now, matrix, now % 3), matrix):
            for column in np.flatnonzero(wide.columns).tolist():
                sums = wide.sums
                binned, celled = sums.bins[:, column].sum(), sums.cells[matrix.owner == column].sum()
                found.append((column, wide.place, float(sums.sums[ROWS, column]), float(binned), float(celled)))
    undisturbed = gathered(rollup_widths, {now: now % 3 for now in range(40)})
    for column, (rollup_width, other) in enumerate(columns):
        wanted = {first: float(sums.sums[ROWS, column]) for first, _, mine, sums in undisturbed if column in mine}
        if other:
            wanted[place // rollup_width * rollup_width] = sum(
                now % 3 for now in range(place, (place // rollup_width + 1) * rollup_width)
            )
        mine = [(first, rows, binned, celled) for number, first, rows, binned, celled in found if number == column]
        assert {first: rows for first, rows, _, _ in mine} == wanted
        if not other:
            assert all((binned, celled) == ((0.0, rows) if column % 2 else (rows, 0.0)) for _, rows, binned, celled in mine)


@given(st.lists(st.sampled_from(STRIDES), min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_what_stands_is_the_latest_whole_window_of_each_column(rollup_widths: list[int], last: int, anew: int) -> None:
    """Of a column of stride one the bucket itself; of a wider one what was judged last, and nothing before or after a renewal."""
    matrix, rollup = matrix_of(len(rollup_widths)), Rollup()
    rollup.set(np.array(rollup_widths, dtype=np.float64))
    first = np.array([True] + [False] * (len(rollup_widths) - 1))
    for place in range(last + 1):
        if place == anew:
            rollup.exchange(rollup.rollup_widths, first, matrix, matrix)
        now = bucket(place, matrix, 1 + place % 3)
        list(rollup.add(place, now, matrix))
    standing = rollup.standing(now, matrix)
    for column, rollup_width in enumerate(rollup_widths):
        end = (last + 1) // rollup_width * rollup_width
        lost = column == 0 and rollup_width > 1 and anew <= last
        begin = max(anew, end - rollup_width) if lost else end - rollup_width
        rows = sum(1 + place % 3 for place in range(max(0, begin), end))
        assert standing.sums[ROWS, column] == rows
        held = standing.bins[:, column].sum() if column % 2 == 0 else standing.cells[matrix.owner == column].sum()
        assert held == rows
