"""Windows on their way to wider ones: every row is judged once for each column, in a window of its own stride."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.measure.rollup import Gather
from detectors.measure.sums import NUMBERS, ROWS, Tally, tally
from detectors.reference.feature_reference import learn_reference
from detectors.reference.matrix import Stack
from detectors.windows.feature import Feature
from tests.simulated import mixed, numbers

STRIDES = (1, 2, 4, 8, 16)
NUMBER = learn_reference([numbers(np.arange(80.0)[None])])
CITY = learn_reference([mixed([["NO", "SE"]])])

Taken = list[tuple[int, int, list[int], Tally]]


def stack_of(columns: int) -> Stack:
    """Return columns of numbers and of categories, in turn."""
    return Stack({f"f{column}": CITY if column % 2 else NUMBER for column in range(columns)})


def bucket(place: int, stack: Stack, rows: int) -> Tally:
    """Return the sums of a bucket in which every row holds its number, or a city."""
    held: dict[str, Feature] = {}
    for column, name in enumerate(stack.names if rows else []):
        (held[name],) = mixed([["NO"] * rows]) if column % 2 else numbers(np.full((1, rows), float(place)))
    return tally([held] if rows else [], rows, stack, outlier_beyond=6.0)


def gathered(strides: list[int], buckets: dict[int, int]) -> Taken:
    """Return (place, stride, columns, sums) of what can be judged, of buckets with so many rows by their place."""
    stack, gather = stack_of(len(strides)), Gather()
    gather.set(np.array(strides, dtype=np.float64))
    return [
        (wide.place, wide.stride, np.flatnonzero(wide.columns).tolist(), wide.sums.copy())
        for place, rows in sorted(buckets.items())
        for wide in gather.take(place, bucket(place, stack, rows), stack)
        if wide.columns.any()
    ]


@given(
    st.lists(st.sampled_from(STRIDES), min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 80), st.integers(0, 3), min_size=1, max_size=50),
)
def test_what_goes_in_comes_out_once(strides: list[int], buckets: dict[int, int]) -> None:
    """For each column: the rows of a wide window are those of its buckets, in order of time, whatever gaps there are."""
    found = gathered(strides, buckets)
    for column, stride in enumerate(strides):
        mine = [(place, int(sums.sums[ROWS, column])) for place, _, columns, sums in found if column in columns]
        wanted: dict[int, int] = {}
        for place, rows in sorted(buckets.items()):
            wanted[place // stride * stride] = wanted.get(place // stride * stride, 0) + rows
        last = max(wanted)
        if last + stride - 1 not in buckets:
            del wanted[last]  # waits for a bucket that ends it
        assert mine == list(wanted.items())
    for place, stride, columns, sums in found:
        assert place % stride == 0
        assert all(strides[column] == stride for column in columns)
        for column in columns:
            rows = sums.sums[ROWS, column]
            counted = sums.bins[:, column].sum() if column % 2 == 0 else sums.cells.reshape(-1, 3)[column // 2].sum()
            assert counted == rows, "bins and cells are those of the same rows"
            assert column % 2 or sums.sums[NUMBERS, column] == rows


def test_a_column_of_stride_one_is_judged_at_once() -> None:
    """It waits for nothing, and no sums are held for it."""
    gather, stack = Gather(), stack_of(2)
    gather.set(np.ones(2))
    for place in (3, 4, 9):
        now = bucket(place, stack, 2)
        (wide,) = gather.take(place, now, stack)
        assert (wide.place, wide.stride, wide.sums is now, wide.columns.tolist()) == (place, 1, True, [True, True])
    assert gather.waiting is None


def test_a_whole_group_is_judged_with_its_last_bucket() -> None:
    """Four buckets of stride four: nothing before the last of them, and then all of them."""
    places = [(place, stride) for place, stride, _, _ in gathered([4], dict.fromkeys(range(4, 7), 1))]
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
    gather, stack = Gather(), stack_of(3)
    gather.set(np.array([16.0, 8.0, 1.0]))
    sizes = set()
    for place in range(100):
        list(gather.take(place, bucket(place, stack, 1), stack))
        assert gather.waiting is not None
        sizes.add((gather.waiting.sums.nbytes, gather.waiting.bins.nbytes, gather.waiting.cells.nbytes))
    assert len(sizes) == 1


def test_other_strides_begin_anew() -> None:
    """What waited for the old ones is dropped: it was measured against references that may be others now."""
    gather, stack = Gather(), stack_of(1)
    gather.set(np.array([4.0]))
    list(gather.take(0, bucket(0, stack, 5), stack))
    gather.set(np.array([2.0]))
    assert [wide.columns.any() for wide in gather.take(2, bucket(2, stack, 1), stack)] == [False]
    found = [wide.sums.sums[ROWS, 0] for wide in gather.take(3, bucket(3, stack, 1), stack) if wide.columns.any()]
    assert found == [2]


@given(
    st.lists(st.tuples(st.sampled_from(STRIDES), st.booleans()), min_size=1, max_size=6),
    st.lists(st.sampled_from(STRIDES), max_size=2),
    st.integers(0, 20),
)
def test_another_reference_of_a_column_costs_the_others_nothing(
    columns: list[tuple[int, bool]], added: list[int], place: int
) -> None:
    """Some columns get other references, with more categories, others come: what comes out of those that stay is the same."""
    strides = [stride for stride, _ in columns]
    before, gather = stack_of(len(columns)), Gather()
    gather.set(np.array(strides, dtype=np.float64))
    (more,) = mixed([["NO", "SE", "DK", "FI"]])
    references = dict(zip(before.names, before.references, strict=True))
    references |= {name: learn_reference([[more]]) for name, (_, anew) in zip(before.names, columns, strict=True) if anew}
    references |= {f"f{len(columns) + number}": CITY for number in range(len(added))}
    after = Stack(references)
    anew = np.array([*(one for _, one in columns), *(True for _ in added)])
    found: list[tuple[int, int, float, float, float]] = []
    for now in range(40):
        if now == place:
            gather.exchange(np.array([*strides, *added], dtype=np.float64), anew, before, after)
        stack = before if now < place else after
        for wide in gather.take(now, bucket(now, stack, now % 3), stack):
            for column in np.flatnonzero(wide.columns).tolist():
                sums = wide.sums
                binned, celled = sums.bins[:, column].sum(), sums.cells[stack.owner == column].sum()
                found.append((column, wide.place, float(sums.sums[ROWS, column]), float(binned), float(celled)))
    undisturbed = gathered(strides, {now: now % 3 for now in range(40)})
    for column, (stride, other) in enumerate(columns):
        wanted = {first: float(sums.sums[ROWS, column]) for first, _, mine, sums in undisturbed if column in mine}
        if other:
            wanted[place // stride * stride] = sum(now % 3 for now in range(place, (place // stride + 1) * stride))
        mine = [(first, rows, binned, celled) for number, first, rows, binned, celled in found if number == column]
        assert {first: rows for first, rows, _, _ in mine} == wanted
        if not other:
            assert all((binned, celled) == ((0.0, rows) if column % 2 else (rows, 0.0)) for _, rows, binned, celled in mine)


@given(st.lists(st.sampled_from(STRIDES), min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_what_stands_is_the_latest_whole_window_of_each_column(strides: list[int], last: int, anew: int) -> None:
    """Of a column of stride one the bucket itself; of a wider one what was judged last, and nothing before or after a renewal."""
    stack, gather = stack_of(len(strides)), Gather()
    gather.set(np.array(strides, dtype=np.float64))
    first = np.array([True] + [False] * (len(strides) - 1))
    for place in range(last + 1):
        if place == anew:
            gather.exchange(gather.strides, first, stack, stack)
        now = bucket(place, stack, 1 + place % 3)
        list(gather.take(place, now, stack))
    standing = gather.standing(now, stack)
    for column, stride in enumerate(strides):
        end = (last + 1) // stride * stride
        lost = column == 0 and stride > 1 and anew <= last
        begin = max(anew, end - stride) if lost else end - stride
        rows = sum(1 + place % 3 for place in range(max(0, begin), end))
        assert standing.sums[ROWS, column] == rows
        held = standing.bins[:, column].sum() if column % 2 == 0 else standing.cells[stack.owner == column].sum()
        assert held == rows
