"""The numeric part of a window: a sorted sample, or mid-quantiles once the sample is long.

A summary does not depend on any reference, so history can be judged again with another one. It is
exact up to `POINTS` values, deterministic, free of scale and unit, and mergeable by union of its
weighted points (detection notes: relative-error sketches go blind on 1000 +- 1, KLL is random).
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

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
        points: little-endian float64, ascending; each stands for `n / len(points)` values.
    """

    n: int
    total: float
    squares: float
    low: float
    high: float
    points: bytes

    def values(self) -> Floats:
        """Return the points, shape (<= POINTS,), ascending."""
        return np.frombuffer(self.points, dtype="<f8")

    @property
    def weight(self) -> float:
        """How many values one point stands for."""
        return self.n / (len(self.points) // 8)


def summarise(values: Floats) -> Numeric:
    """Return the summary of a non-empty array of finite values, shape (n,).

    >>> summarise(np.array([3.0, 1.0, 2.0])).values().tolist()
    [1.0, 2.0, 3.0]
    >>> summarise(np.arange(6400.0)).values()[:2].tolist()
    [49.5, 149.5]
    """
    ordered = np.sort(values)
    n = len(ordered)
    if n <= POINTS:
        points = ordered
    else:
        # Value at the middle of each of POINTS equal shares, linear between neighbours.
        position = (np.arange(POINTS) + 0.5) * (n / POINTS) - 0.5
        below = position.astype(np.intp)
        share = position - below
        # Written as a weighted sum of both ends: a difference of 1e308 and -1e308 overflows.
        points = ordered[below] * (1.0 - share) + ordered[np.minimum(below + 1, n - 1)] * share
    with np.errstate(over="ignore"):
        return Numeric(
            n=n,
            total=float(ordered.sum()),
            squares=float(np.square(ordered).sum()),
            low=float(ordered[0]),
            high=float(ordered[-1]),
            points=points.astype("<f8").tobytes(),
        )
