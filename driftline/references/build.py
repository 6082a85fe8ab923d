"""Rows or windows of a time when all was well -> references, made by the judge's own windows and learner.

Rules:
1. The judge learns as from live traffic, but is made to go on until the end. So a stretch of rows gives the references that
   live traffic would give. As there, learning starts again after a gap longer than `reference.duration`; a note says so.
2. What would make a bad reference is an error that says what to do. Segments or outcomes with too few windows are left out
   with a note: the judge learns those from live traffic.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from detectors.errors import ConfigError
from detectors.judging.judge import Judge
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.learned import FeatureBaseline
from detectors.reference.reference_set import ReferenceSet, SegmentReference
from detectors.spec import ModelSpec
from detectors.windows.record import Kind
from detectors.windows.row import PREDICTION, VOLUME
from driftline.readers.options import Options
from driftline.replay.reading import read
from driftline.replay.replaying import KINDS, Replaying
from driftline.replay.report import fault_notes
from driftline.text.durations import format_duration
from driftline.text.nearest import nearest
from driftline.text.progress import ProgressLine
from streams.records.times import rfc3339
from streams.settings import Settings
from streams.state.reference_file import reference_set_of

__all__ = ["Built", "build"]

#: Names shown in one message at most.
_MOST_NAMED = 8

_Segments = dict[Kind, dict[str, SegmentReference]]


@dataclass(frozen=True, slots=True)
class Built:
    """A reference set, and notes for a person, a sentence each."""

    reference_set: ReferenceSet
    notes: list[str]


def build(settings: Settings, options: Options, spec: ModelSpec, *, since: float = -math.inf, until: float = math.inf) -> Built:
    """Return the references of a model, learned from all windows between two times, epoch seconds.

    Raises:
        ConfigError: the file cannot be read, or its rows make no reference.
        UnavailableError: Kafka is needed and away.
    """
    place = options.file or f"topic {settings.kafka.prefix}.windows"
    never = replace(spec, reference=replace(spec.reference, min_windows=sys.maxsize, reference_set=None))
    models = {model.name: model for model in settings.models} | {spec.name: never}
    replaying = Replaying(models, since=since, until=until)
    progress = ProgressLine()
    try:
        for _ in read(settings, options, replaying, progress):
            pass  # a judge that learns finds nothing
    finally:
        progress.erase()
    monitor = replaying.monitor(spec.name)
    if monitor is None:
        raise ConfigError(f"{place}: nothing in it is of model {spec.name}")
    _require_in_order(place, spec, replaying)
    segments, notes = _learned(place, spec, monitor, replaying)
    notes += _constant(place, segments)
    reference_set = reference_set_of(spec, segments)
    first = replaying.tallies()[spec.name].first
    if reference_set.since > first:
        notes.append(
            f"what came from {rfc3339(first)} on is left out: behind it lies a gap longer than "
            f"models.{spec.name}.reference.duration"
        )
    length = reference_set.until - reference_set.since
    if length < spec.reference.seconds:
        notes.append(
            f"it covers {format_duration(length)}, less than models.{spec.name}.reference.duration, which is "
            f"{format_duration(spec.reference.seconds)}: a season that it does not show is not known"
        )
    return Built(reference_set, notes + fault_notes(replaying, options))


def _require_in_order(place: str, spec: ModelSpec, replaying: Replaying) -> None:
    late = replaying.late(spec.name)
    if any(late.values()):
        counts = " and ".join(
            f"{count:,} {'rows' if kind == 'features' else 'outcomes'}" for kind, count in late.items() if count
        )
        raise ConfigError(
            f"{place}: {counts} came after their window was closed, because times go backwards: sort the file by time, or raise "
            f"models.{spec.name}.lateness, which is {format_duration(spec.lateness_seconds)}"
        )


def _learned(place: str, spec: ModelSpec, monitor: ModelMonitor, replaying: Replaying) -> tuple[_Segments, list[str]]:
    """Return what was learned of the segments that have enough windows, and notes on the others."""
    least = spec.reference.min_windows
    segments: _Segments = {}
    notes: list[str] = []
    most = 0
    for kind in KINDS:
        for segment, judge in sorted(monitor.channels[kind].judges.items()):
            learner = judge.learner
            assert learner is not None  # its reference is never ready
            if kind == "features":
                most = max(most, learner.seen)
            if learner.seen < least:
                whose = f"{kind} of segment {segment}" if segment else kind
                notes.append(
                    f"{whose}: {learner.seen:,} windows, fewer than models.{spec.name}.reference.min_windows ({least}): "
                    "not in the file, and learned from live traffic"
                )
                continue
            segments.setdefault(kind, {})[segment] = _reference(spec, judge)
    if "features" not in segments:
        raise ConfigError(f"{place}: {_too_short(spec, most, replaying)}")
    known = {feature for found in segments["features"].values() for feature in found.learned}
    missing = next((feature for feature in spec.features if feature not in known), None)
    if missing is not None:
        raise ConfigError(
            f'{place}: models.{spec.name}.features names "{missing}", and no row has it; '
            f"{nearest(missing, known) or f'there are {_named(known)}'}"
        )
    return segments, notes


def _reference(spec: ModelSpec, judge: Judge) -> SegmentReference:
    learner = judge.learner
    assert learner is not None
    learned = learner.learn(spec)
    learned = {feature: found for feature, found in learned.items() if judge.rules.judges(feature)}
    return SegmentReference(learner.seen, learner.since or 0.0, learner.until, learned)


def _too_short(spec: ModelSpec, most: int, replaying: Replaying) -> str:
    others = replaying.tallies()[spec.name].other_widths
    if not most and others:
        widths = " and ".join(f"{count:,} of {format_duration(width)}" for width, count in sorted(others.items()))
        return (
            f"windows of model {spec.name} are of another width ({widths}): models.{spec.name}.window is "
            f"{format_duration(spec.window_seconds)}, and windows cannot be made narrower or wider: give the rows"
        )
    return (
        f"{most:,} windows of {format_duration(spec.window_seconds)} are too few for a reference: "
        f"models.{spec.name}.reference.min_windows is {spec.reference.min_windows}; give more rows, or make the window shorter"
    )


def _constant(place: str, segments: _Segments) -> list[str]:
    """Return a note on the features that never vary.

    Raises:
        ConfigError: none does.
    """
    varies: dict[str, bool] = {}
    for found in segments["features"].values():
        for feature, learned in found.learned.items():
            varies[feature] = varies.get(feature, False) or _varies(learned)
    own = {feature: found for feature, found in varies.items() if feature not in (*PREDICTION, VOLUME)}
    if not own:
        raise ConfigError(f"{place}: there are no features in it")
    constant = sorted(feature for feature, found in own.items() if not found)
    if len(constant) == len(own):
        raise ConfigError(
            f"{place}: every feature has one value only ({_named(constant)}), and nothing can be learned from that about what is "
            "normal: give rows of real traffic, and look whether the columns are read as you mean them"
        )
    return [f"never vary: {_named(constant)}"] if constant else []


def _varies(learned: FeatureBaseline) -> bool:
    reference = learned.reference
    return reference.distinct + len(reference.shares) + (reference.other > 0) > 1


def _named(names: Iterator[str] | Mapping[str, object] | set[str] | list[str]) -> str:
    known = sorted(names)
    more = len(known) - _MOST_NAMED
    return ", ".join(known[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
