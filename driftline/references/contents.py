"""What references contain, as values that a person or an auditor can read.

Rules:
1. Every value comes from the references. The configuration is not read, because it may have changed since.
2. The references that a judge publishes, for scoring single events, have no baselines. A value that needs one is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from detectors.judging.judge import Judge
from detectors.model.finding import ReferenceLearned
from detectors.reference.baseline import Baseline
from detectors.reference.feature_reference import QUANTILES, FeatureReference
from detectors.reference.learned import FeatureBaseline
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec
from detectors.statistics import StatisticName
from detectors.windows.record import Kind
from detectors.windows.row import VOLUME
from driftline.text import wording
from streams.records.times import rfc3339

#: Quantiles that are shown, in percent; 0 and 100 are the least and the largest value of all.
PERCENT = (0, 1, 5, 25, 50, 75, 95, 99, 100)
#: Percentiles one standard deviation below and above the mean of Gaussian values.
_SIGMA = (15.87, 84.13)


@dataclass(frozen=True, slots=True)
class MonitorContents:
    """How one statistic of a feature behaves while nothing is wrong.

    Args:
        statistic: which.
        season: its name, with the calendar of public holidays where it looks at one.
        correlation: of neighbouring windows, -1 to 1.
        windows: how many it was learned from.
        fast: whether it has a fast path.
    """

    statistic: StatisticName
    season: str
    correlation: float
    windows: int
    fast: bool


@dataclass(frozen=True, slots=True)
class FeatureContents:
    """The reference of one feature.

    Args:
        feature: its name.
        kind: type of its values: numbers, categories, both, none, or the number of rows.
        mean: of the numbers; None without any.
        spread: half the width of the middle 68 % of them, a standard deviation where they are Gaussian.
        quantiles: percent -> value, as in `PERCENT`; empty without numbers.
        shares: category -> share, the most frequent first.
        other: share of all other categories.
        categories: how many are known by name.
        missing: share of rows without a value, on average over the season; None where that is not known.
        merged: how many windows are judged together.
        monitors: one for each statistic that is watched.
    """

    feature: str
    kind: str
    mean: float | None
    spread: float | None
    quantiles: dict[str, float]
    shares: dict[str, float]
    other: float
    categories: int
    missing: float | None
    merged: int | None
    monitors: list[MonitorContents] | None


@dataclass(frozen=True, slots=True)
class SegmentContents:
    """The references of one segment; it was learned from `windows` windows between two times, RFC 3339."""

    windows_of: Kind
    segment: str
    windows: int | None
    since: str | None
    until: str | None
    features: list[FeatureContents]

    @property
    def monitors(self) -> int | None:
        """Number of monitors; None where the references do not say."""
        known = [feature.monitors for feature in self.features if feature.monitors is not None]
        return sum(map(len, known)) if len(known) == len(self.features) else None


@dataclass(frozen=True, slots=True)
class Contents:
    """What one version contains.

    Args:
        version: hash of its content.
        model: name of the model.
        place: the file that was read, or where else it was found.
        learned_by: version of Driftline, and of River; None for what a judge published.
        since: begin of what it was learned from, as text; `until` the end.
        held_from: when a judge began to judge by it, as text; None for a file.
        window_seconds: width of the windows by their kind, where there are any.
        timezone: of its seasons; `holidays` their calendar.
        features: those that the configuration named when it was learned; empty for all that appeared.
        categorical: features that were categories although they look like numbers.
        segments: what was learned of each.
        monitors: number of monitors of all segments.
    """

    version: str
    model: str
    place: str
    learned_by: dict[str, str] | None
    since: str | None
    until: str | None
    held_from: str | None
    window_seconds: dict[Kind, float]
    timezone: str | None
    holidays: str | None
    features: list[str] | None
    categorical: list[str] | None
    segments: list[SegmentContents]
    monitors: int | None


def of_reference_set(reference_set: ReferenceSet, place: str) -> Contents:
    """Return what a reference set contains; it is not changed."""
    head = reference_set.head
    widths: dict[Kind, float] = {"features": head.window_seconds, "outcomes": head.outcome_window_seconds}
    segments = [
        SegmentContents(
            kind,
            segment,
            windows=reference_set.segments[kind][segment].windows,
            since=rfc3339(reference_set.segments[kind][segment].since),
            until=rfc3339(reference_set.segments[kind][segment].until),
            features=_features(kind, segment, learned, widths[kind], head.holidays),
        )
        for kind in reference_set.segments
        for segment, learned in sorted(reference_set.learned(kind).items())
    ]
    return Contents(
        version=head.version,
        model=head.model,
        place=place,
        learned_by={"driftline": head.driftline, "river": head.river},
        since=rfc3339(reference_set.since),
        until=rfc3339(reference_set.until),
        held_from=None,
        window_seconds={kind: widths[kind] for kind, of in reference_set.segments.items() if of},
        timezone=head.timezone,
        holidays=head.holidays,
        features=list(head.features),
        categorical=list(head.categorical),
        segments=segments,
        monitors=sum(found.monitors or 0 for found in segments),
    )


def of_published(version: str, published: ReferenceLearned, place: str) -> Contents:
    """Return what a judge published for one segment."""
    features = [_feature(name, reference, None, None, None) for name, reference in sorted(published.features.items())]
    return Contents(
        version=version,
        model=published.model,
        place=place,
        learned_by=None,
        since=None,
        until=None,
        held_from=rfc3339(published.at) if published.at > 0 else None,
        window_seconds={},
        timezone=None,
        holidays=None,
        features=None,
        categorical=None,
        segments=[SegmentContents("features", published.segment, windows=None, since=None, until=None, features=features)],
        monitors=None,
    )


def _features(
    kind: Kind, segment: str, learned: Mapping[str, FeatureBaseline], seconds: float, holidays: str
) -> list[FeatureContents]:
    """Return the features of a segment, with the monitors of a judge that has taken them over."""
    judge = Judge.begin(ModelSpec(""), kind, segment, seconds)
    judge.adopt(learned)
    watched: dict[str, list[MonitorContents]] = {}
    for feature, statistic in judge.watched():
        watched.setdefault(feature, []).append(_monitor(statistic, learned[feature].baselines[statistic], holidays))
    return [
        _feature(name, reference, learned[name].rollup_width, learned[name].baselines.get("missing"), watched.get(name, []))
        for name, reference in sorted(judge.references.items())
    ]


def _monitor(statistic: StatisticName, baseline: Baseline, holidays: str) -> MonitorContents:
    season = wording.season(baseline.season.name, holidays)
    return MonitorContents(statistic, season, baseline.correlation, baseline.windows, baseline.fast)


def _feature(
    name: str,
    reference: FeatureReference,
    merged: int | None,
    missing: Baseline | None,
    monitors: list[MonitorContents] | None,
) -> FeatureContents:
    numeric = bool(len(reference.quantiles))
    low, high = (_quantile(reference, percent) / 2 for percent in _SIGMA) if numeric else (0.0, 0.0)
    return FeatureContents(
        feature=name,
        kind=_kind(name, reference),
        mean=None if math.isnan(reference.mean) else reference.mean,
        spread=high - low if numeric else None,
        quantiles={str(percent): _quantile(reference, percent) for percent in PERCENT} if numeric else {},
        shares=dict(sorted(reference.shares.items(), key=lambda item: -item[1])),
        other=reference.other,
        categories=len(reference.known),
        missing=None if missing is None else _expected(missing),
        merged=merged,
        monitors=monitors,
    )


def _kind(name: str, reference: FeatureReference) -> str:
    if name == VOLUME:
        return "number of rows"
    found = ["numbers"] if len(reference.quantiles) else []
    found += ["categories"] if reference.shares else []
    return " and ".join(found) or "no values"


def _quantile(reference: FeatureReference, percent: float) -> float:
    return float(reference.quantiles[min(QUANTILES - 1, int(percent / 100 * QUANTILES))])


def _expected(baseline: Baseline) -> float:
    """Return what a rate is expected to be, on average over its season."""
    return min(1.0, max(0.0, baseline.season.mean))
