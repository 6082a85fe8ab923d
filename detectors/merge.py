"""Parts of one bucket from several source partitions -> one feature each, weighted."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from detectors.columns import Feature
from detectors.window import Window


class Pooled(msgspec.Struct, frozen=True):
    """One feature over all parts of a bucket.

    Args:
        rows: rows in the bucket, with or without the feature.
        missing: rows in which it was null or absent.
        points: numeric sample, shape (p,), in the order of the parts.
        weights: how many values each point stands for, shape (p,).
        categories: category -> count.
        other: values of categories not counted by name.
        low: least number, infinite without one; `high` the greatest.
    """

    rows: int
    missing: int
    points: np.ndarray
    weights: np.ndarray
    categories: dict[str, int]
    other: int
    low: float = math.inf
    high: float = -math.inf

    @property
    def numbers(self) -> float:
        """How many numeric values."""
        return float(self.weights.sum())

    @property
    def named(self) -> int:
        """How many categorical values."""
        return sum(self.categories.values()) + self.other

    def mean(self) -> float:
        """Return the mean of the numeric sample, NaN when there is none."""
        total = self.weights.sum()
        return float((self.points * (self.weights / total)).sum()) if total else float("nan")


def absent(rows: int) -> Pooled:
    """Return a feature that none of so many rows has: missing in all of them."""
    return Pooled(rows=rows, missing=rows, points=np.empty(0), weights=np.empty(0), categories={}, other=0)


def pool(parts: Iterable[Window]) -> dict[str, Pooled]:
    """Return feature -> pooled feature; parts must come in an order that the log alone decides."""
    windows = list(parts)
    rows = sum(window.n for window in windows)
    names = sorted({name for window in windows for name in window.features})
    nothing = Feature(missing=0)
    return {name: _pool([window.features.get(name, nothing) for window in windows], rows) for name in names}


def _pool(features: list[Feature], rows: int) -> Pooled:
    numeric = [feature.numeric for feature in features if feature.numeric is not None]
    categories: dict[str, int] = {}
    for feature in features:
        for category, count in feature.categories.items():
            categories[category] = categories.get(category, 0) + count
    points = np.concatenate([part.values() for part in numeric]) if numeric else np.empty(0)
    weights = np.concatenate([part.weights() for part in numeric]) if numeric else np.empty(0)
    other = sum(feature.other for feature in features)
    present = sum(part.n for part in numeric) + sum(categories.values()) + other
    return Pooled(
        rows=rows,
        missing=rows - present,
        points=points,
        weights=weights,
        categories=categories,
        other=other,
        low=min((part.low for part in numeric), default=math.inf),
        high=max((part.high for part in numeric), default=-math.inf),
    )
