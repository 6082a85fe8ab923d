"""The specification of one model: plain values, already checked, with every default filled in.

driftline/config/load.py makes these from `driftline.toml`; the core, the agents, the retrainer and the
service only read them. Durations are seconds of event time, rates are per week of event time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detectors.reference.local_time import DAY_SECONDS, WEEK_SECONDS
from detectors.reference.reference_set import ReferenceSet
from detectors.windows.record import Kind, WindowShape


@dataclass(frozen=True, slots=True)
class ReferenceSpec:
    """The source of a model's reference: a reference set, and for features that it lacks the first `seconds` of event time."""

    seconds: float = 3 * DAY_SECONDS
    #: Learning goes on until there are so many windows, however much time has passed.
    min_windows: int = 24
    #: References that were learned beforehand; None without any.
    reference_set: ReferenceSet | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutcomeSpec:
    """How outcomes (predictions joined with labels) are monitored."""

    #: A label that comes later than this after its prediction is counted and not joined.
    label_within_seconds: float = 2 * DAY_SECONDS
    #: Name from detectors/judging/detectors.py; `page_hinkley` judges standardised scores within the budget.
    detector: str = "page_hinkley"
    #: Width of one window of outcomes; None takes the model's window.
    window_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OutlierSpec:
    """Single events far outside the reference."""

    enabled: bool = True
    #: Distance from the reference (a normal score, about standard deviations) from which on a value is far outside.
    distance: float = 6.0
    #: Most outlier events written for each window and source partition.
    per_window: int = 10


@dataclass(frozen=True, slots=True)
class RetrainSpec:
    """When a retrain is requested, and how its candidate is trained and tested."""

    enabled: bool = True
    #: Least event time between two requests for the model.
    cooldown_seconds: float = WEEK_SECONDS
    #: Labelled rows needed since the change point before training starts.
    min_rows: int = 300
    #: Most recent rows used at most.
    max_rows: int = 50_000
    #: Share of the rows, the newest, on which candidate and champion are compared.
    holdout: float = 0.25
    #: Largest accepted chance of promoting a model that is not better.
    max_error: float = 0.05
    #: Ways to make a candidate: `warm` (the champion goes on learning) and `fresh`.
    candidates: tuple[str, ...] = ("warm", "fresh")
    #: Give up a request when not enough labelled rows came within this wall time.
    patience_seconds: float = 3 * DAY_SECONDS
    #: Most predictions a day whose features are kept for training, chosen by the hash of their id; None keeps all.
    rows_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One monitored model."""

    name: str
    #: `module:attribute` of a callable that returns a new untrained model, or None (not retrained).
    factory: str | None = None
    #: False alarms of all features, segments, statistics and detectors of the model together.
    false_alarms_per_week: float = 1.0
    window_seconds: float = 60.0
    #: An event is late if it is older than the newest event of its partition by more than this.
    lateness_seconds: float = 0.0
    timezone: str = "UTC"
    #: Calendar of public holidays, such as "DE" or "DE-BY" (detectors/reference/holidays.py); empty for none.
    holidays: str = ""
    #: Name from detectors/judging/detectors.py for the feature statistics.
    detector: str = "page_hinkley"
    #: Monitored features; empty means all that appear (up to `max_features`).
    features: tuple[str, ...] = ()
    #: Features that are categories although their values look like numbers.
    categorical: tuple[str, ...] = ()
    #: Features or tags by which outcomes can be grouped: their values are kept with the prediction until its label comes.
    groups: tuple[str, ...] = ()
    #: Whether the number of rows is monitored; None monitors it if the reference covers a week, and so knows weekends.
    volume: bool | None = None
    max_features: int = 500
    max_segments: int = 100
    #: Most values buffered as rows in one bucket of one source partition; beyond, the largest window is folded to a summary.
    max_buffered_values: int = 4_000_000
    reference: ReferenceSpec = field(default_factory=ReferenceSpec)
    outcomes: OutcomeSpec = field(default_factory=OutcomeSpec)
    outliers: OutlierSpec = field(default_factory=OutlierSpec)
    retrain: RetrainSpec = field(default_factory=RetrainSpec)

    @property
    def outcome_window_seconds(self) -> float:
        """Width of a window of outcomes, in seconds of event time."""
        return self.outcomes.window_seconds or self.window_seconds


def width(spec: ModelSpec, kind: Kind) -> float:
    """Return the width of a model's windows of a kind, in seconds of event time."""
    widths: Mapping[Kind, float] = {"features": spec.window_seconds, "outcomes": spec.outcome_window_seconds}
    return widths[kind]


def shapes_of(models: Mapping[str, ModelSpec], kind: Kind) -> dict[str, WindowShape]:
    """Return model -> shape of its windows of a kind."""
    return {
        name: WindowShape(
            seconds=width(spec, kind),
            lateness_seconds=spec.lateness_seconds,
            max_segments=spec.max_segments,
            max_features=spec.max_features,
            max_buffered_values=spec.max_buffered_values,
        )
        for name, spec in models.items()
    }


class BoundSpec:
    """The specification that a judge works by: a class of our own, so that a snapshot recognises it and leaves it out."""

    __slots__ = ("spec",)

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec


def spec_of(bound: BoundSpec | None) -> ModelSpec:
    """Return the specification that is bound.

    Raises:
        RuntimeError: none is: state that comes from a snapshot must be bound before it is used.
    """
    if bound is None:
        raise RuntimeError("this state comes from a snapshot and has no specification yet: call bind(spec) first")
    return bound.spec
