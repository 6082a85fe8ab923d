"""Features held against their references as a judge does it, for the tests of what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.judging.verdict import Seen
from detectors.measure.measure import measure
from detectors.measure.sums import NAMED, WindowSums, window_sums
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.matrix import ReferenceMatrix
from detectors.statistics import STATISTICS, StatisticName
from detectors.windows.feature import Feature
from tests.support.simulated import events_in


class OneMeasure(NamedTuple):
    """One statistic of one feature: its value, its variance within the window times the events, and the events."""

    value: float
    within: float
    count: float


def tallied(feature: Feature, reference: FeatureReference, *, beyond: float = 6.0) -> tuple[WindowSums, ReferenceMatrix]:
    """Return the sums of a window of one part with a feature `x`, and the matrix of its reference."""
    matrix = ReferenceMatrix({"x": reference}, outlier_beyond=beyond)
    return window_sums([{"x": feature}], events_in(feature), matrix), matrix


def taken(sums: WindowSums, matrix: ReferenceMatrix, column: int = 0) -> dict[StatisticName, OneMeasure]:
    """Return the statistics of a feature that a window has something to say about."""
    found = measure(sums, matrix)
    values = zip(found.value[:, column], found.within[:, column], found.count[:, column], strict=True)
    measures = {name: OneMeasure(*map(float, figures)) for name, figures in zip(STATISTICS, values, strict=True)}
    return {name: one for name, one in measures.items() if not np.isnan(one.value)}


def of(feature: Feature, reference: FeatureReference) -> dict[StatisticName, OneMeasure]:
    """Return the statistics of a window of one part."""
    return taken(*tallied(feature, reference))


def seen_in(feature: Feature, reference: FeatureReference) -> Seen:
    """Return what a verdict tells of a window of one part."""
    sums, _ = tallied(feature, reference)
    mean = feature.numeric.total / feature.numeric.n if feature.numeric else float("nan")
    return Seen(mean, reference.mean, dict(feature.categories), float(sums.sums[NAMED, 0]))


def every_column(sums: WindowSums, matrix: ReferenceMatrix) -> Mapping[str, dict[StatisticName, OneMeasure]]:
    """Return feature -> its statistics."""
    return {name: taken(sums, matrix, column) for column, name in enumerate(matrix.names)}
