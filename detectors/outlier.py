"""Outliers: single events with values far outside the reference, and the features that hold these values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from detectors.arrays import Integers
from detectors.identity import identity
from detectors.reference.feature_reference import FeatureReference
from detectors.windows.block import Block
from detectors.windows.row import Row, Value
from detectors.windows.sample import LARGEST

#: Most features named in an outlier event, the farthest first.
_TOP = 5
#: Distance reported for a value that a constant feature never had.
_FARTHEST = 1e6


class FarFeature(msgspec.Struct, frozen=True):
    """A feature far outside: its value, and how far in standard deviations of the near tail."""

    name: str
    value: Value
    distance: float


class Outlier(msgspec.Struct, frozen=True):
    """One event far outside the reference; `ts` is epoch seconds of event time."""

    id: str
    model: str
    segment: str
    ts: float
    partition: int
    offset: int
    reference: str
    features: list[FarFeature]


class Outliers:
    """Finds outliers among the rows of one source partition, and returns at most `per_window` of each window.

    Which outliers are returned depends on the order of the rows in the partition alone.
    """

    def __init__(self, *, partition: int, window_seconds: float, beyond: float, per_window: int) -> None:
        self._partition = partition
        self._window_seconds = window_seconds
        self._beyond = beyond
        self._per_window = per_window
        self._bucket = -1
        self._written = 0

    def find(self, row: Row, version: str, references: Mapping[str, FeatureReference]) -> tuple[bool, Outlier | None]:
        """Return whether the row is an outlier, and the event to write; None if it is no outlier, or beyond the limit.

        Args:
            row: the event.
            version: of the reference, for the record.
            references: feature -> reference of the row's segment.
        """
        far: list[FarFeature] = []
        for name, value in (row.values or {}).items():
            reference = references.get(name)
            number = _number(value)
            if reference is None or number is None or not len(reference.quantiles):
                continue
            # A cheap comparison first: nearly every value lies within the reference.
            if reference.quantiles[0] <= number <= reference.quantiles[-1]:
                continue
            distance = float(reference.distances(np.array([number]))[0])
            if distance > self._beyond:
                far.append(FarFeature(name, number, round(min(distance, _FARTHEST), 2)))
        if not far:
            return False, None
        bucket = math.floor(row.ts / self._window_seconds)
        if bucket > self._bucket:
            self._bucket, self._written = bucket, 0
        if self._written >= self._per_window:
            return True, None
        self._written += 1
        far.sort(key=lambda feature: (-feature.distance, feature.name))
        return True, Outlier(
            id=identity("outlier", row.model, self._partition, row.offset),
            model=row.model,
            segment=row.segment,
            ts=row.ts,
            partition=self._partition,
            offset=row.offset,
            reference=version,
            features=far[:_TOP],
        )


def outside_of(block: Block, rows: Integers, references: Mapping[str, FeatureReference]) -> list[int]:
    """Return the rows (indices into a block) that have a number outside the range of its reference.

    Nearly every row lies within, which one array operation shows for all; only the others need `Outliers.find`.
    """
    outside = np.zeros(len(rows), dtype=np.bool_)
    for name, reference in references.items():
        if not len(reference.quantiles):
            continue
        low, high = reference.quantiles[0], reference.quantiles[-1]
        numbers = block.numbers_of(name)
        if numbers is not None:
            # A missing number is NaN, and NaN is never outside.
            values = numbers[rows]
            outside |= (values < low) | (values > high)
    return [int(row) for row in rows[outside]]


def _number(value: Value) -> float | None:
    """Return a number as a double, as windows count it; None for anything else, NaN and infinity included."""
    if type(value) is int:
        return float(max(-int(LARGEST), min(int(LARGEST), value)))
    return value if type(value) is float and math.isfinite(value) else None
