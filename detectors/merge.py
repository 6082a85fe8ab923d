"""Parts of one bucket from several source partitions -> one feature each, weighted."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from detectors.window import Feature, Window


class Pooled(msgspec.Struct, frozen=True):
    """One feature over all parts of a bucket.

    Args:
        rows: rows in the bucket, with or without the feature.
        missing: rows in which it was null or absent.
        points: numeric sample, shape (p,), in the order of the parts.
        weights: how many values each point stands for, shape (p,).
        categories: category -> count.
        other: values of categories not counted by name.
    """

    rows: int
    missing: int
    points: np.ndarray
    weights: np.ndarray
    categories: dict[str, int]
    other: int

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


def pool(parts: Iterable[Window]) -> dict[str, Pooled]:
    """Return feature -> pooled feature; parts must come in an order that the log alone decides."""
    windows = list(parts)
    rows = sum(window.n for window in windows)
    names = sorted({name for window in windows for name in window.features})
    absent = Feature(missing=0)
    return {name: _pool([window.features.get(name, absent) for window in windows], rows) for name in names}


def _pool(features: list[Feature], rows: int) -> Pooled:
    numeric = [feature.numeric for feature in features if feature.numeric is not None]
    categories: dict[str, int] = {}
    for feature in features:
        for category, count in feature.categories.items():
            categories[category] = categories.get(category, 0) + count
    points = np.concatenate([part.values() for part in numeric]) if numeric else np.empty(0)
    weights = np.concatenate([np.full(len(part.points) // 8, part.weight) for part in numeric]) if numeric else np.empty(0)
    other = sum(feature.other for feature in features)
    present = sum(part.n for part in numeric) + sum(categories.values()) + other
    return Pooled(rows=rows, missing=rows - present, points=points, weights=weights, categories=categories, other=other)
