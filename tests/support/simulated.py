"""Simulated streams for the tests of the core: columns of values in, records of the windows topic out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from detectors.incidents.alert import Alert
from detectors.incidents.decision import Acceptance, Decision
from detectors.incidents.retrain import Request
from detectors.learning.learner import Learner
from detectors.model.finding import Finding
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.reference_set import SegmentReference
from detectors.spec import ModelSpec
from detectors.windows.feature import Feature, column_of
from detectors.windows.record import Kind, Mark, Window
from detectors.windows.row import Value
from detectors.windows.sample import summarise

#: One feature over time: one entry for each window, None where the window has no such feature.
Column = Sequence[Feature | None]


def numbers(values: np.ndarray) -> list[Feature]:
    """Return a feature whose values in each window are a row of `values`, shape (windows, events)."""
    return [Feature(missing=0, numeric=summarise(row)) for row in values.astype(np.float64)]


def mixed(rows: Iterable[Sequence[Value]]) -> list[Feature]:
    """Return a feature from any values, one sequence for each window; None is a missing one."""
    return [column_of(values).feature(len(values)) for values in rows]


def events_in(feature: Feature) -> int:
    """Return how many rows of a window a feature speaks of."""
    numeric = feature.numeric.n if feature.numeric else 0
    return feature.missing + numeric + sum(feature.categories.values()) + feature.other


def window(
    spec: ModelSpec, start: float, features: Mapping[str, Feature], *, rows: int, segment: str = "", kind: Kind = "features"
) -> Window:
    """Return a closed window of source 0."""
    seconds = spec.window_seconds if kind == "features" else spec.outcome_window_seconds
    return Window(spec.name, segment, kind, 0, start, seconds, 0, 0, rows, dict(features))


def history(
    spec: ModelSpec,
    columns: Mapping[str, Column],
    *,
    kind: Kind = "features",
    segment: str = "",
    start: float = 0.0,
) -> Iterator[Window | Mark]:
    """Yield windows and marks of one source, as long as the shortest column; rows are the most that a feature speaks of."""
    seconds = spec.window_seconds if kind == "features" else spec.outcome_window_seconds
    for index, found in enumerate(zip(*columns.values(), strict=False)):
        features = {name: feature for name, feature in zip(columns, found, strict=True) if feature is not None}
        begin = start + index * seconds
        rows = max((events_in(feature) for feature in features.values()), default=1)
        yield window(spec, begin, features, rows=rows, segment=segment, kind=kind)
        yield Mark(model=spec.name, kind=kind, source=0, sources=1, until=begin + seconds)


def watched(spec: ModelSpec, records: Iterable[Window | Mark | Decision | Acceptance]) -> tuple[ModelMonitor, list[Finding]]:
    """Return a new monitor after all records, and its findings."""
    monitor = ModelMonitor.begin(spec)
    return monitor, [finding for record in records for finding in monitor.add(record)]


def segment_reference(spec: ModelSpec, columns: Mapping[str, Column], *, kind: Kind = "features") -> SegmentReference:
    """Return what a segment with these features looked like, learned as a judge learns it."""
    learner = Learner(spec.window_seconds if kind == "features" else spec.outcome_window_seconds)
    for record in history(spec, columns, kind=kind):
        if isinstance(record, Window):
            learner.add(spec, record.start, [record])
    return SegmentReference(learner.seen, learner.since or 0.0, learner.until, learner.learn(spec))


def alerts(findings: Iterable[Finding], status: str = "opened") -> list[Alert]:
    """Return the alerts of that status."""
    return [finding for finding in findings if isinstance(finding, Alert) and finding.status == status]


def requests(findings: Iterable[Finding]) -> list[Request]:
    """Return the retrain requests."""
    return [finding for finding in findings if isinstance(finding, Request)]
