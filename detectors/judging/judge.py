"""A judge: windows of one kind, model and segment -> verdicts, against references that it learns itself.

Rules:
1. While the first reference is learned nothing is judged, and `learning` says so.
2. A feature whose reference is replaced, as after a swap, is learned anew while the others stay under watch.
3. A feature with a roll-up width of k is judged once in k buckets, over all of them together (detectors/measure/rollup.py).
4. What differs between features and outcomes stands in a table (detectors/judging/kinds.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.judging.codrift import drifted_together
from detectors.judging.detectors import DETECTORS
from detectors.judging.kinds import KIND_RULES, KindRules
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
from detectors.spec import BoundSpec, ModelSpec, spec_of
from detectors.statistics import STATISTICS, UPWARDS, StatisticName, place_of
from detectors.windows.feature import Feature
from detectors.windows.record import Kind, Window
from detectors.windows.row import ERROR, PREDICTION, VOLUME

#: Features relearned in one bucket at most. The others wait for the next bucket, or the worker would stand still.
_MOST_AT_ONCE = 16
#: Seasons follow a window only while its score is no further from zero than this, in standard deviations.
_USUAL = 3.0


class Weighed(NamedTuple):
    """What judging a bucket gave: the alarms, and whether there are new monitors, so that the budget must be shared again."""

    verdicts: list[Verdict]
    renewed: bool


@dataclass(frozen=True, slots=True)
class _SummedBucket:
    """A bucket: its sums, the parts they were made from, and which columns may be judged, shape (F,)."""

    sums: WindowSums
    parts: Sequence[Mapping[str, Feature]]
    judged: Flags


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window that was judged.

    Args:
        sums: of its rows.
        measured: its statistics, shape (S, F).
        expected: what the baselines expected of them, shape (S, F).
        end: epoch seconds.
        parts: of its last bucket: feature -> summary.
    """

    sums: WindowSums
    measured: Measures
    expected: Floats
    end: float
    parts: Sequence[Mapping[str, Feature]]


class Judge(msgspec.Struct):
    """State of one segment.

    Args:
        kind: of its windows.
        segment: name of the segment.
        seconds: width of its windows.
        learner: collects the first reference; None once it is learned.
        monitors: one column for each feature of `references`, in the same order.
        references: feature -> reference.
        rollup: merges the buckets that a feature is judged over.
        relearning: feature -> learner, for features whose reference is replaced, or will be if their drift lasts.
        renewing: those features in `relearning` that are not judged meanwhile, in order (a set has no order in a snapshot).
        matrix: the references as columns, made when it is first needed; no part of a snapshot.
        bound: specification of the model; no part of a snapshot.
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
    matrix: ReferenceMatrix | None = None
    bound: BoundSpec | None = None

    @classmethod
    def begin(cls, spec: ModelSpec, kind: Kind, segment: str, seconds: float) -> Judge:
        """Return the judge of a segment before its first window."""
        rules = KIND_RULES[kind]
        monitors = Monitors.empty(rules.detector(spec), rules.direction, seconds)
        return cls(kind, segment, seconds, Learner(seconds), monitors, bound=BoundSpec(spec))

    def bind(self, spec: ModelSpec) -> None:
        """Work by this specification from now on."""
        self.bound = BoundSpec(spec)
        self.matrix = None
        for learner in (self.learner, *self.relearning.values()):
            if learner is not None:
                learner.bind(spec)

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return spec_of(self.bound)

    @property
    def rules(self) -> KindRules:
        """What differs between kinds of windows."""
        return KIND_RULES[self.kind]

    def weigh(self, start: float, parts: Sequence[Window]) -> Weighed:
        """Judge one bucket, or learn from it while the first reference is missing.

        Args:
            start: first second of the bucket, epoch seconds; buckets come in order.
            parts: its windows, in an order that the log alone decides; none in a bucket without rows.
        """
        if self.spec.features and self.rules.selectable:
            parts = [_only(part, self.spec.features) for part in parts]
        if self.learner is not None:
            return Weighed([], renewed=bool(parts) and self._learn(self.learner, start, parts))
        renewed = bool(parts) and self._relearn(start, parts)
        features, rows = [part.features for part in parts], sum(part.n for part in parts)
        verdicts = self._weigh(start, features, rows)
        for verdict in verdicts:
            self.relearning.setdefault(verdict.feature, Learner(self.seconds, [verdict.feature]))
        return Weighed(verdicts, renewed)

    def _learn(self, learner: Learner, start: float, parts: Sequence[Window]) -> bool:
        """Learn from a bucket, and tell whether that completed the first reference."""
        if learner.since is not None and start - learner.until > self.spec.reference.seconds:
            # A gap longer than the whole reference: what came before (a clock that said 1970, say) is no part of it.
            learner = self.learner = Learner(self.seconds)
        learner.add(self.spec, start, parts)
        ready = learner.ready(self.spec)
        if ready:
            self.adopt(learner.learn(self.spec))
        return ready

    def _relearn(self, start: float, parts: Sequence[Window]) -> bool:
        """Learn features anew, and those that the first reference did not have; tell whether any is complete now."""
        spec = self.spec
        for part in parts:
            if part.features.keys() <= self.references.keys():
                continue
            for feature in sorted(part.features.keys() - self.references.keys()):
                known = self.references.keys() | self.relearning.keys()
                if feature not in known and len(known - {VOLUME}) < spec.max_features:
                    self.renew(feature, afresh=False)
        for learner in self.relearning.values():
            learner.add(spec, start, parts)
        ready = [feature for feature in sorted(self.renewing) if self.relearning[feature].ready(spec)][:_MOST_AT_ONCE]
        if not ready:
            return False
        self.adopt({name: learned for feature in ready for name, learned in self.relearning[feature].learn(spec).items()})
        for feature in ready:  # also where nothing was learned, as of a volume that is not wanted any more
            self.renewing.pop(feature, None)
            self.relearning.pop(feature, None)
        return True

    def adopt(self, learned: Mapping[str, FeatureBaseline]) -> None:
        """Judge features against these references from now on; other features stay as they are."""
        self.learner = None
        learned = {feature: baseline for feature, baseline in learned.items() if self.rules.judges(feature)}
        before, self.matrix = self.reference_matrix(), None
        new = [feature for feature in learned if feature not in self.references]
        self.references |= {feature: baseline.reference for feature, baseline in learned.items()}
        self.monitors.widen(len(new))
        rollup_widths = np.concatenate([self.rollup.rollup_widths, np.ones(len(new))])
        columns = {feature: column for column, feature in enumerate(self.references)}
        fed_scores = DETECTORS[self.monitors.detector].feed == "scores"
        for feature, baseline in learned.items():
            column = columns[feature]
            # Detectors of outcomes take every outcome, and so every bucket.
            rollup_widths[column] = baseline.rollup_width if fed_scores else 1
            for row, statistic in enumerate(STATISTICS):
                watched = baseline.baselines.get(statistic) if statistic in self.rules.statistics else None
                self.monitors.set((row, column), watched, up=statistic in UPWARDS)
            self.renewing.pop(feature, None)
            self.relearning.pop(feature, None)
        replaced = np.array([feature in learned for feature in self.references], dtype=np.bool_)
        self.rollup.exchange(rollup_widths, replaced, before, self.reference_matrix())

    def _weigh(self, start: float, parts: Sequence[Mapping[str, Feature]], rows: int) -> list[Verdict]:
        matrix = self.reference_matrix()
        sums = window_sums(parts, rows, matrix)
        silent = {*self.renewing, *self.unwatched()}
        judged = np.array([name not in silent for name in matrix.names], dtype=np.bool_)
        bucket = _SummedBucket(sums, parts, judged)
        verdicts: list[Verdict] = []
        for window in self.rollup.add(round(start / self.seconds), sums, matrix):
            if (judged & window.columns).any():
                verdicts += self._judge(window, bucket)
        return verdicts

    def _judge(self, window: Wide, bucket: _SummedBucket) -> list[Verdict]:
        """Judge a window that ends with this bucket."""
        columns = bucket.judged & window.columns
        start, seconds = window.place * self.seconds, window.rollup_width * self.seconds
        monitors, matrix = self.monitors, self.reference_matrix()
        measured = measure(window.sums, matrix)
        moment = Moment(start, local_seconds(start, self.spec.timezone, self.spec.holidays), seconds)
        expected = monitors.scores.expected(moment.local)
        scores = monitors.scores.score(moment, measured, expected, np.broadcast_to(columns, expected.shape))
        errors = None
        if DETECTORS[monitors.detector].feed == "outcomes":
            errors = [_errors(bucket.parts, name) for name in matrix.names]
        raised = monitors.weigh(start, scores, errors)
        calm = (np.abs(scores) < _USUAL) & ~monitors.recovery.fired  # a window that raised an alarm moves nothing
        judged = _Judged(window.sums, measured, expected, start + seconds, bucket.parts)
        verdicts = [self._verdict(alarm, judged) for alarm in raised]
        if raised:
            verdicts += self._codrift(raised, window, bucket)
        monitors.scores.follow(moment, measured, expected, calm)
        return verdicts

    def _codrift(self, raised: list[Raised], window: Wide, bucket: _SummedBucket) -> list[Verdict]:
        """Return the verdicts of the other features that changed together with the alarms, by the latest window of each."""
        matrix, scores = self.reference_matrix(), self.monitors.scores
        sums = self.rollup.standing(bucket.sums, matrix)
        measured = measure(sums, matrix)
        seconds, widths = window.rollup_width * self.seconds, self.rollup.rollup_widths * self.seconds
        end = window.place * self.seconds + seconds
        # A wide window may be closed by a later bucket. Columns that were scored in that bucket have seen more than this window.
        there = ~np.isnan(measured.value) & bucket.judged & (scores.last_start < end)
        expected = np.zeros(there.shape)
        others = drifted_together(self.monitors, raised, there, seconds, widths=widths)
        for start in {float(scores.last_start[alarm.cell]) for alarm in others}:
            then = scores.last_start == start
            expected[then] = scores.expected(local_seconds(start, self.spec.timezone, self.spec.holidays))[then]
        judged = _Judged(sums, measured, expected, end, bucket.parts)
        return [self._verdict(alarm, judged) for alarm in others]

    def _verdict(self, raised: Raised, window: _Judged) -> Verdict:
        row, column = raised.cell
        matrix = self.reference_matrix()
        feature, statistic = matrix.names[column], STATISTICS[row]
        seen = _seen(window, matrix, column, self._usual_mean(window, column))
        value, expected = float(window.measured.value[row, column]), float(window.expected[row, column])
        reference, is_error = self.references[feature], feature == ERROR
        words = describe(statistic, value=value, expected=expected, seen=seen, reference=reference, is_error=is_error)
        size = size_of(statistic, value=value, expected=expected, seen=seen, reference=reference)
        return Verdict(feature, statistic, raised.began_at, window.end, round(raised.score, 3), words, round(size, 3))

    def _usual_mean(self, window: _Judged, column: int) -> float:
        """Return the mean of a feature's numbers that was expected at the time of a window."""
        reference = list(self.references.values())[column]
        cell = place_of("location"), column
        if not self.monitors.watched[cell] or self.monitors.scores.seasons.are("constant")[cell]:
            return reference.mean
        return reference.mean_at(float(window.expected[cell]))

    def reference_matrix(self) -> ReferenceMatrix:
        """Return the references as columns."""
        if self.matrix is None:
            self.matrix = ReferenceMatrix(self.references, outlier_beyond=self.spec.outliers.distance)
        return self.matrix

    def renew(self, feature: str, *, afresh: bool) -> None:
        """Replace a feature's reference: by what was seen since its alarm, or `afresh` by what comes from now on."""
        if self.learner is not None:
            return
        if afresh or feature not in self.relearning:
            self.relearning[feature] = Learner(self.seconds, [feature])
        self.renewing[feature] = None

    def recovered(self) -> list[str]:
        """Return the features all of whose fired monitors are back at their baseline, and arm those monitors again."""
        recovery = self.monitors.recovery
        if not recovery.fired.any():
            return []
        back = recovery.fired.any(axis=0) & (recovery.fired == recovery.over).all(axis=0)
        names = [name for name, over in zip(self.references, back.tolist(), strict=True) if over and name not in self.renewing]
        columns = np.array([name in names for name in self.references])
        self.monitors.rearm(recovery.fired & columns)
        for feature in names:
            self.relearning.pop(feature, None)
        return sorted(names)

    def reconfigure(self) -> None:
        """Use the detectors that the specification names now; other detectors begin anew, against the same baselines."""
        detector = self.rules.detector(self.spec)
        if self.monitors.detector != detector:
            self.monitors.exchange(detector)

    def unwatched(self) -> list[str]:
        """Return the features that have a reference and are not judged, because the specification leaves them out."""
        if not self.rules.selectable:
            return []
        wanted = {*self.spec.features, *PREDICTION, VOLUME} if self.spec.features else set(self.references)
        if self.spec.volume is False:
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
    """Return a window with those features alone, and with what the model puts out."""
    wanted = {*features, *PREDICTION}
    return msgspec.structs.replace(part, features={name: value for name, value in part.features.items() if name in wanted})


def _seen(window: _Judged, matrix: ReferenceMatrix, column: int, usual: float) -> Seen:
    """Return what a verdict says of a feature; new categories come from the last bucket, because they have no cell."""
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
    """Tell whether a feature has values of a type that its reference lacks: text where only numbers were, or the reverse."""
    if matrix.numeric[column] == matrix.categorical[column]:
        return False
    return bool(feature.categories or feature.other) if matrix.numeric[column] else feature.numeric is not None


def _errors(parts: Sequence[Mapping[str, Feature]], name: str) -> tuple[int, int]:
    """Return (errors, outcomes) of a window: a value above one half is an error."""
    wrong = total = 0.0
    for part in parts:
        numeric = part[name].numeric if name in part else None
        if numeric is not None:
            weights = numeric.weights()
            wrong += float(weights[numeric.values() > 0.5].sum())
            total += float(weights.sum())
    return round(wrong), round(total)
