"""The numeric part of a window: a sorted sample, or mid-quantiles once the sample is long.

A summary does not depend on any reference, so another reference can judge the history again. It is
exact up to `POINTS` different values, however often each occurs, so rates of 0 and 1 are exact.
It is deterministic, has no unit, and is merged by the union of its weighted points.
(Sketches of relative error do not see a change in 1000 +- 1; KLL draws at random, so a replay would differ.)
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Floats

#: The greatest double.
LARGEST = float(np.finfo(np.float64).max)
#: Most points of a summary.
POINTS = 64


class Numeric(msgspec.Struct, frozen=True, array_like=True):
    """Summary of the numeric values of one feature in one window.

    Args:
        n: number of values.
        total: their sum.
        squares: sum of their squares.
        low: least value.
        high: greatest value.
        points: the values or mid-quantiles, little-endian float64, ascending.
        counts: number of values at each point, little-endian float64; empty if each point represents
            `n / len(points)` values.
    """

    n: int
    total: float
    squares: float
    low: float
    high: float
    points: bytes
    counts: bytes = b""

    def __post_init__(self) -> None:
        """Refuse counts that do not fit the points or `n`: the bytes may come from any sender."""
        if self.counts and len(self.counts) != len(self.points):
            raise ValueError(f"{len(self.counts)} bytes of counts for {len(self.points)} bytes of points")
        if self.counts and float(np.frombuffer(self.counts, dtype="<f8").sum()) != self.n:
            raise ValueError(f"counts that do not add up to {self.n}")

    def values(self) -> Floats:
        """Return the points, shape (<= POINTS,), ascending."""
        return np.frombuffer(self.points, dtype="<f8")

    def weights(self) -> Floats:
        """Return the number of values that each point represents, shape (<= POINTS,)."""
        if self.counts:
            return np.frombuffer(self.counts, dtype="<f8")
        points = len(self.points) // 8
        return np.full(points, self.n / points)


def summarise(values: Floats) -> Numeric:
    """Return the summary of a non-empty array of finite values, shape (n,).

    >>> summarise(np.array([3.0, 1.0, 2.0])).values().tolist()
    [1.0, 2.0, 3.0]
    >>> summarise(np.arange(6400.0)).values()[:2].tolist()
    [49.5, 149.5]
    >>> many = summarise(np.array([0.0] * 997 + [1.0] * 3))
    >>> many.values().tolist(), many.weights().tolist()
    ([0.0, 1.0], [997.0, 3.0])
    """
    return summarise_rows(values.reshape(1, -1))[0]


def summarise_rows(values: Floats) -> list[Numeric]:
    """Return the summary of each row of finite values, shape (k, n) with n > 0.

    A row's summary does not depend on the other rows, to the bit.
    """
    # Adding 0.0 makes every zero positive: zeros of both signs compare equal, so a sort may leave them in any order.
    # C order: a sum over an array of another layout adds in another order, and may differ in the last bit.
    ordered = np.add(values, 0.0, order="C")
    ordered.sort(axis=1)
    n = ordered.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        totals = ordered.sum(axis=1)
        squares = np.minimum(LARGEST, np.square(ordered).sum(axis=1))
    few: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    if n <= POINTS:
        points = ordered
    else:
        few = np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) < POINTS)
        # Value at the middle of each of POINTS equal shares, linear between neighbours.
        position = (np.arange(POINTS) + 0.5) * (n / POINTS) - 0.5
        below = position.astype(np.intp)
        share = position - below
        # Written as a weighted sum of both ends: a difference of 1e308 and -1e308 overflows.
        points = ordered[:, below] * (1.0 - share) + ordered[:, np.minimum(below + 1, n - 1)] * share
    written = points.astype("<f8", copy=False)
    lows, highs = ordered[:, 0].tolist(), ordered[:, -1].tolist()
    found = [
        Numeric(n, _bounded(total, ordered[row]), square, lows[row], highs[row], written[row].tobytes())
        for row, (total, square) in enumerate(zip(totals.tolist(), squares.tolist(), strict=True))
    ]
    for row in few.tolist():
        starts = np.flatnonzero(np.concatenate(([True], ordered[row, 1:] != ordered[row, :-1])))
        found[row] = msgspec.structs.replace(
            found[row],
            points=ordered[row, starts].astype("<f8").tobytes(),
            counts=np.diff(starts, append=n).astype("<f8").tobytes(),
        )
    return found


def _bounded(total: float, ordered: Floats) -> float:
    """Return a sum, or the greatest double of its sign if it overflows, so that any format can hold it."""
    if math.isfinite(total):
        return total
    with np.errstate(over="ignore"):
        return max(-LARGEST, min(LARGEST, float((ordered / len(ordered)).sum()) * len(ordered)))


def merged(first: Numeric, second: Numeric) -> Numeric:
    """Return one summary, of bounded size, of the values of two.

    Exact up to `POINTS` different points; beyond, mid-quantiles of the weighted points of both.

    >>> both = merged(summarise(np.array([1.0, 1.0])), summarise(np.array([2.0])))
    >>> both.n, both.values().tolist(), both.weights().tolist()
    (3, [1.0, 2.0], [2.0, 1.0])
    """
    n = first.n + second.n
    values = np.concatenate([first.values(), second.values()])
    weights = np.concatenate([first.weights(), second.weights()])
    distinct, where = np.unique(values, return_inverse=True)
    counts = b""
    if len(distinct) <= POINTS and _whole(first) and _whole(second):
        points = distinct
        counts = np.bincount(where, weights=weights).astype("<f8").tobytes()
    else:
        order = np.argsort(values, kind="stable")
        # The position of a point is the middle of its own weight.
        middle = np.cumsum(weights[order]) - weights[order] / 2.0
        wanted = (np.arange(POINTS, dtype=np.float64) + 0.5) * np.float64(n / POINTS)
        points = _between(middle, values[order], wanted)
    return Numeric(
        n=n,
        total=max(-LARGEST, min(LARGEST, first.total + second.total)),
        squares=min(LARGEST, first.squares + second.squares),
        low=min(first.low, second.low),
        high=max(first.high, second.high),
        points=points.astype("<f8").tobytes(),
        counts=counts,
    )


def _between(at: Floats, values: Floats, wanted: Floats) -> Floats:
    """Return the values at the wanted positions, linear between neighbours (np.interp overflows on 1e308 and -1e308)."""
    above = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
    share = np.clip((wanted - at[above - 1]) / (at[above] - at[above - 1]), 0.0, 1.0)
    between: Floats = values[above - 1] * (1.0 - share) + values[above] * share
    return between


def _whole(numeric: Numeric) -> bool:
    """Return whether the points are the values themselves, not mid-quantiles."""
    return bool(numeric.counts) or numeric.n * 8 == len(numeric.points)
