"""The numeric part of a window: a sorted sample, or mid-quantiles once the sample is long.

A summary does not depend on any reference, so history can be judged again with another one. It is
exact up to `POINTS` different values, however many there are of each (so rates of 0 and 1 are exact),
deterministic, free of scale and unit, and mergeable by union of its weighted points. (Sketches with a
relative error go blind on 1000 +- 1; KLL draws at random, so a replay would differ.)
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The greatest double.
LARGEST = float(np.finfo(np.float64).max)
#: Most points kept of one feature in one window.
POINTS = 64


class Numeric(msgspec.Struct, frozen=True, array_like=True):
    """Summary of the numeric values of one feature in one window.

    Args:
        n: how many values.
        total: their sum.
        squares: sum of their squares.
        low: least value.
        high: greatest value.
        points: little-endian float64, ascending.
        counts: little-endian float64, how many values each point stands for; empty when all stand
            for `n / len(points)`.
    """

    n: int
    total: float
    squares: float
    low: float
    high: float
    points: bytes
    counts: bytes = b""

    def __post_init__(self) -> None:
        """Refuse what `weights` could not be taken from: the bytes may come from anywhere."""
        if self.counts and len(self.counts) != len(self.points):
            raise ValueError(f"{len(self.counts)} bytes of counts for {len(self.points)} bytes of points")
        if self.counts and float(np.frombuffer(self.counts, dtype="<f8").sum()) != self.n:
            raise ValueError(f"counts that do not add up to {self.n}")

    def values(self) -> Floats:
        """Return the points, shape (<= POINTS,), ascending."""
        return np.frombuffer(self.points, dtype="<f8")

    def weights(self) -> Floats:
        """Return how many values each point stands for, shape (<= POINTS,)."""
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
    ordered = np.sort(values)
    n = len(ordered)
    counts = b""
    if n <= POINTS:
        points = ordered
    elif len(starts := np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))) <= POINTS:
        points = ordered[starts]
        counts = np.diff(starts, append=n).astype("<f8").tobytes()
    else:
        # Value at the middle of each of POINTS equal shares, linear between neighbours.
        position = (np.arange(POINTS) + 0.5) * (n / POINTS) - 0.5
        below = position.astype(np.intp)
        share = position - below
        # Written as a weighted sum of both ends: a difference of 1e308 and -1e308 overflows.
        points = ordered[below] * (1.0 - share) + ordered[np.minimum(below + 1, n - 1)] * share
    with np.errstate(over="ignore", invalid="ignore"):
        total, squares = float(ordered.sum()), float(np.square(ordered).sum())
        if not math.isfinite(total):
            total = max(-LARGEST, min(LARGEST, float((ordered / n).sum()) * n))
    return Numeric(
        n=n,
        # Sums beyond a double stay at its end, so that they can be written in any format.
        total=total,
        squares=min(LARGEST, squares),
        low=float(ordered[0]),
        high=float(ordered[-1]),
        points=points.astype("<f8").tobytes(),
        counts=counts,
    )
