"""Judge: windows of one model and segment -> verdicts, against a reference it learns itself.

Two streams are judged side by side, features and outcomes. While a reference is being learned nothing
is judged, and `learning` says so. A feature whose reference was replaced (after a swap) is learned anew
while the others stay under watch. A feature whose stride is k is judged once in k buckets, over all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.judging.codrift import suspects
from detectors.judging.detectors import DETECTORS, Direction
from detectors.judging.monitors import Monitors, Raised
from detectors.judging.scores import Moment
from detectors.judging.verdict import Seen, Verdict, describe, size_of
from detectors.learning.learner import Learner
from detectors.measure.measure import Measures, mean_of, measure
from detectors.measure.rollup import Rollup, Wide
from detectors.measure.sums import NAMED, WindowSums, window_sums
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.learned import FeatureBaseline
from detectors.reference.local_time import local_seconds
from detectors.reference.matrix import ReferenceMatrix
from detectors.reference.season import Flags
from detectors.spec import ModelSpec
from detectors.statistics import STATISTICS, UPWARDS, StatisticName, place_of
from detectors.windows.feature import Feature
from detectors.windows.record import Kind, Window
from detectors.windows.row import ERROR, PREDICTION, VOLUME

#: Features that are learned anew in one bucket, at most; the others wait for the next, or the worker would stand still.
_MOST_AT_ONCE = 16
#: A window with a score beyond this is followed by no season.
_USUAL = 3.0


@dataclass(frozen=True, slots=True)
class _SummedBucket:
    """A bucket: its sums, the parts that they are of, and which columns may be judged, shape (F,)."""

    sums: WindowSums
    parts: Sequence[Mapping[str, Feature]]
    judged: Flags


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window that was judged: its sums, what they are and were expected to be, its end, and the parts of its last bucket."""

    sums: WindowSums
    measured: Measures
    expected: Floats
    end: float
    parts: Sequence[Mapping[str, Feature]]


class Judge(msgspec.Struct):
    """One kind of windows of one segment.

    Args:
        kind: of features, or of outcomes.
        segment: name of the segment.
        seconds: width of its windows.
        learner: collects the first reference; None once it is there.
        monitors: of the references, whose order is that of its columns.
        references: feature -> reference.
        rollup: merges the buckets that a feature is judged over.
        relearning: feature -> learner, for features whose reference will be or is being replaced.
        renewing: features in `relearning` that are not judged meanwhile, in order (a set has none in a snapshot).
    """

    kind: Kind
    segment: str
    seconds: float
    learner: Learner | None
    monitors: Monitors
    references: dict[str, FeatureReference] = {}
    rollup: Rollup = msgspec.field(default_factory=Rollup)
    relearning: dict[str, Learner] = {}
    renewing: dict[str, None] = {}
    #: Set when monitors were made: the budget has to be shared again.
    renewed: bool = False
    #: Of the references, and made from them again when it is asked for; no part of a snapshot.
    matrix: ReferenceMatrix | None = None

    @classmethod
    def begin(cls, spec: ModelSpec, kind: Kind, segment: str, seconds: float) -> Judge:
        """Return a judge that knows nothing yet."""
        detector = spec.outcomes.detector if kind == "outcomes" else spec.detector
        direction: Direction = "up" if kind == "outcomes" else "both"
        return cls(kind, segment, seconds, Learner(seconds), Monitors.empty(detector, direction, seconds))

    def weigh(self, spec: ModelSpec, start: float, parts: Sequence[Window]) -> list[Verdict]:
        """Judge one bucket and return its alarms; the first ones are learned from.

        Args:
            spec: of the model.
            start: first second of the bucket, epoch seconds; buckets come in order.
            parts: its windows, in an order that the log alone decides; none in a bucket without rows.
        """
        if spec.features and self.kind == "features":
            parts = [_only(part, spec.features) for part in parts]
        if self.learner is not None:
            if parts:
                self._learn(spec, self.learner, start, parts)
            return []
        if parts:
            self._learn_on(spec, start, parts)
        features, rows = [part.features for part in parts], sum(part.n for part in parts)
        verdicts = self._weigh(spec, start, features, rows)
        for verdict in verdicts:
            self.relearning.setdefault(verdict.feature, Learner(self.seconds, [verdict.feature]))
        return verdicts

    def _learn(self, spec: ModelSpec, learner: Learner, start: float, parts: Sequence[Window]) -> None:
        if learner.since is not None and start - learner.until > spec.reference.seconds:
            # A gap longer than the whole stretch: what came before (one clock of 1970, say) is no part of it.
            learner = self.learner = Learner(self.seconds)
        learner.add(spec, start, parts)
        if learner.ready(spec):
            self.adopt(learner.learn(spec))

    def _learn_on(self, spec: ModelSpec, start: float, parts: Sequence[Window]) -> None:
        for part in parts:
            if part.features.keys() <= self.references.keys():
                continue
            for feature in sorted(part.features.keys() - self.references.keys()):  # that the first reference did not have
                known = self.references.keys() | self.relearning.keys()
                if feature not in known and len(known - {VOLUME}) < spec.max_features:
                    self.renew(feature, afresh=False)
        for learner in self.relearning.values():
            learner.add(spec, start, parts)
        ready = [feature for feature in sorted(self.renewing) if self.relearning[feature].ready(spec)][:_MOST_AT_ONCE]
        if ready:
            self.adopt({name: one for feature in ready for name, one in self.relearning[feature].learn(spec).items()})
        for feature in ready:  # also where nothing was learned, as of a volume that is not wanted any more
            self.renewing.pop(feature, None)
            self.relearning.pop(feature, None)

    def adopt(self, learned: Mapping[str, FeatureBaseline]) -> None:
        """Judge features against these references from now on; others stay as they are."""
        self.learner = None
        self.renewed = True
        if self.kind == "outcomes":
            learned = {name: result for name, result in learned.items() if name == ERROR}
        before, self.matrix = self.side_by_side(), None
        new = [feature for feature in learned if feature not in self.references]
        self.references |= {feature: result.reference for feature, result in learned.items()}
        self.monitors.widen(len(new))
        rollup_widths = np.concatenate([self.rollup.rollup_widths, np.ones(len(new))])
        columns = {feature: column for column, feature in enumerate(self.references)}
        for feature, result in learned.items():
            column = columns[feature]
            # Detectors of outcomes are fed each of them, and so every bucket.
            rollup_widths[column] = result.rollup_width if DETECTORS[self.monitors.detector].feed == "scores" else 1
            for row, statistic in enumerate(STATISTICS):
                watched = self.kind != "outcomes" or statistic == "location"
                baseline = result.baselines.get(statistic) if watched else None
                self.monitors.set((row, column), baseline, up=statistic in UPWARDS)
            self.renewing.pop(feature, None)
            self.relearning.pop(feature, None)
        anew = np.array([feature in learned for feature in self.references], dtype=np.bool_)
        self.rollup.exchange(rollup_widths, anew, before, self.side_by_side())

    def _weigh(self, spec: ModelSpec, start: float, parts: Sequence[Mapping[str, Feature]], rows: int) -> list[Verdict]:
        matrix = self.side_by_side()
        now = window_sums(parts, rows, matrix, outlier_beyond=spec.outliers.distance)
        silent = {*self.renewing, *self.unwatched(spec)}
        judged = np.array([name not in silent for name in matrix.names], dtype=np.bool_)
        bucket = _SummedBucket(now, parts, judged)
        found: list[Verdict] = []
        for window in self.rollup.add(round(start / self.seconds), now, matrix):
            if (judged & window.columns).any():
                found += self._judge(spec, window, bucket)
        return found

    def _judge(self, spec: ModelSpec, window: Wide, bucket: _SummedBucket) -> list[Verdict]:
        """Judge a window, of which this is the last bucket."""
        columns = bucket.judged & window.columns
        start, seconds = window.place * self.seconds, window.rollup_width * self.seconds
        monitors, matrix = self.monitors, self.side_by_side()
        measured = measure(window.sums, matrix)
        moment = Moment(start, local_seconds(start, spec.timezone, spec.holidays), seconds)
        expected = monitors.scores.expected(moment.local)
        scores = monitors.scores.score(moment, measured, expected, np.broadcast_to(columns, expected.shape))
        errors = None
        if DETECTORS[monitors.detector].feed == "outcomes":
            errors = [_errors(bucket.parts, name) for name in matrix.names]
        raised = monitors.weigh(start, scores, errors)
        calm = (np.abs(scores) < _USUAL) & (monitors.fired == 0)  # a window that raised an alarm moves nothing
        judged = _Judged(window.sums, measured, expected, start + seconds, bucket.parts)
        verdicts = [self._verdict(one, judged) for one in raised]
        if raised:
            verdicts += self._suspected(spec, raised, window, bucket)
        monitors.scores.follow(moment, measured, expected, calm)
        return verdicts

    def _suspected(self, spec: ModelSpec, raised: list[Raised], window: Wide, bucket: _SummedBucket) -> list[Verdict]:
        """Return the verdicts of the other features that changed together with those, by the latest window of each."""
        matrix, scores = self.side_by_side(), self.monitors.scores
        sums = self.rollup.standing(bucket.sums, matrix)
        measured = measure(sums, matrix)
        seconds, widths = window.rollup_width * self.seconds, self.rollup.rollup_widths * self.seconds
        end = window.place * self.seconds + seconds
        # A wide window that a later bucket ended was over before what that one's columns have seen by now.
        there = ~np.isnan(measured.value) & bucket.judged & (scores.last_start < end)
        expected = np.zeros(there.shape)
        others = suspects(self.monitors, raised, there, seconds, widths=widths)
        for start in {float(scores.last_start[one.cell]) for one in others}:
            then = scores.last_start == start
            expected[then] = scores.expected(local_seconds(start, spec.timezone, spec.holidays))[then]
        judged = _Judged(sums, measured, expected, end, bucket.parts)
        return [self._verdict(one, judged) for one in others]

    def _verdict(self, raised: Raised, window: _Judged) -> Verdict:
        row, column = raised.cell
        matrix = self.side_by_side()
        feature, statistic = matrix.names[column], STATISTICS[row]
        seen = _seen(window, matrix, column, self._usual_mean(window, column))
        value, expected = float(window.measured.value[row, column]), float(window.expected[row, column])
        reference, is_error = self.references[feature], feature == ERROR
        words = describe(statistic, value=value, expected=expected, seen=seen, reference=reference, is_error=is_error)
        size = size_of(statistic, value=value, expected=expected, seen=seen, reference=reference)
        return Verdict(feature, statistic, raised.began_at, window.end, round(raised.score, 3), words, round(size, 3))

    def _usual_mean(self, window: _Judged, column: int) -> float:
        """Return the mean of a feature's numbers that was to be expected at the time of a window."""
        reference = list(self.references.values())[column]
        cell = place_of("location"), column
        if not self.monitors.watched[cell] or self.monitors.scores.seasons.are("constant")[cell]:
            return reference.mean
        return reference.mean_at(float(window.expected[cell]))

    def side_by_side(self) -> ReferenceMatrix:
        """Return the references as columns."""
        if self.matrix is None:
            self.matrix = ReferenceMatrix(self.references)
        return self.matrix

    def renew(self, feature: str, *, afresh: bool) -> None:
        """Replace a feature's reference: by what was seen since its alarm, or `afresh` from now on."""
        if self.learner is not None:
            return
        if afresh or feature not in self.relearning:
            self.relearning[feature] = Learner(self.seconds, [feature])
        self.renewing[feature] = None

    def recovered(self) -> list[str]:
        """Return the features all of whose fired monitors are back at their baseline, and arm those again."""
        fired = self.monitors.fired > 0
        if not fired.any():
            return []
        back = fired.any(axis=0) & (fired == self.monitors.recovered).all(axis=0)
        names = [name for name, one in zip(self.references, back.tolist(), strict=True) if one and name not in self.renewing]
        columns = np.array([name in names for name in self.references])
        self.monitors.rearm(fired & columns)
        for feature in names:
            self.relearning.pop(feature, None)
        return sorted(names)

    def reconfigure(self, spec: ModelSpec) -> None:
        """Let the detectors be those that the configuration names now; others start anew on the same baselines."""
        detector = spec.outcomes.detector if self.kind == "outcomes" else spec.detector
        if self.monitors.detector != detector:
            self.monitors.exchange(detector)

    def unwatched(self, spec: ModelSpec) -> list[str]:
        """Return the features that have a reference and are not judged, because the configuration leaves them out."""
        if self.kind == "outcomes":
            return []
        wanted = {*spec.features, *PREDICTION, VOLUME} if spec.features else set(self.references)
        if spec.volume is False:
            wanted.discard(VOLUME)
        return [name for name in self.references if name not in wanted]

    @property
    def learning(self) -> bool:
        """Whether the first reference is still being learned."""
        return self.learner is not None

    def watched(self) -> list[tuple[str, StatisticName]]:
        """Return (feature, statistic) of every monitor."""
        names = list(self.references)
        return [(names[column], STATISTICS[row]) for column, row in np.argwhere(self.monitors.watched.T).tolist()]


def _only(part: Window, features: Sequence[str]) -> Window:
    """Return a window with no other features than those, and what the model puts out."""
    wanted = {*features, *PREDICTION}
    return msgspec.structs.replace(part, features={name: one for name, one in part.features.items() if name in wanted})


def _seen(window: _Judged, matrix: ReferenceMatrix, column: int, usual: float) -> Seen:
    """Return what a verdict tells of a feature; new categories are those of the last bucket, as they have no cell."""
    feature, cells = matrix.names[column], matrix.cells[column]
    categories: dict[str, float] = {name: float(window.sums.cells[cell]) for name, cell in cells.items()}
    for part in window.parts:
        if feature in part:
            for name, count in part[feature].categories.items():
                if name not in cells:
                    categories[name] = categories.get(name, 0.0) + count
    counted = {name: count for name, count in categories.items() if count}
    strange = any(_strange(part[feature], matrix, column) for part in window.parts if feature in part)
    return Seen(mean_of(window.sums, column), usual, counted, float(window.sums.sums[NAMED, column]), strange)


def _strange(feature: Feature, matrix: ReferenceMatrix, column: int) -> bool:
    """Tell whether there are values of a type that the reference has none of, though it has values."""
    if matrix.numeric[column] == matrix.categorical[column]:
        return False
    return bool(feature.categories or feature.other) if matrix.numeric[column] else feature.numeric is not None


def _errors(parts: Sequence[Mapping[str, Feature]], name: str) -> tuple[int, int]:
    """Return (errors, outcomes) of a window whose values are 0 and 1; of others, values above one half count."""
    wrong = total = 0.0
    for part in parts:
        numeric = part[name].numeric if name in part else None
        if numeric is not None:
            weights = numeric.weights()
            wrong += float(weights[numeric.values() > 0.5].sum())
            total += float(weights.sum())
    return round(wrong), round(total)
