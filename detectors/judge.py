"""Judge: merged windows of one model and segment -> verdicts, against a reference it learns itself.

Two streams are judged side by side, features and outcomes. While a reference is being learned nothing
is judged, and `learning` says so. A feature whose reference was replaced (after a swap) is learned anew
while the others stay under watch.
"""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.budget import threshold
from detectors.detector import Direction
from detectors.learner import Learned, Learner
from detectors.merge import Pooled
from detectors.monitor import Monitor
from detectors.reference import FeatureReference
from detectors.row import ERROR, PREDICTION
from detectors.season import local_seconds
from detectors.spec import ModelSpec
from detectors.statistic import measure
from detectors.verdict import Verdict, describe
from detectors.window import Kind

_EMPTY = np.empty(0)


class Judge(msgspec.Struct):
    """One kind of windows of one segment.

    Args:
        kind: of features, or of outcomes.
        segment: name of the segment.
        learner: collects the first reference; None once it is there.
        references: feature -> reference.
        monitors: `feature/statistic` -> monitor.
        relearning: feature -> learner, for features whose reference will be or is being replaced.
        renewing: features in `relearning` that are not judged meanwhile.
    """

    kind: Kind
    segment: str
    learner: Learner | None
    references: dict[str, FeatureReference] = {}
    monitors: dict[str, Monitor] = {}
    relearning: dict[str, Learner] = {}
    renewing: set[str] = set()
    #: Set when monitors were made: the budget has to be shared again.
    renewed: bool = False

    def weigh(self, spec: ModelSpec, start: float, pooled: dict[str, Pooled]) -> list[Verdict]:
        """Judge one merged window and return its alarms; the first ones are learned from.

        Args:
            spec: of the model.
            start: first second of the window, epoch seconds; windows come in order.
            pooled: feature -> its parts, merged.
        """
        if spec.features and self.kind == "features":
            pooled = {name: part for name, part in pooled.items() if name in spec.features or name in PREDICTION}
        if self.learner is not None:
            self.learner.add(start, pooled)
            if self.learner.ready(seconds=spec.reference.seconds, min_windows=spec.reference.min_windows):
                self._adopt(spec, self.learner.learn(timezone=spec.timezone, outlier_beyond=spec.outliers.beyond))
                self.learner = None
            return []
        self._learn_on(spec, start, pooled)
        rows = max((part.rows for part in pooled.values()), default=0)
        # What is not once in this window is missing in all of its rows.
        absent = Pooled(rows=rows, missing=rows, points=_EMPTY, weights=_EMPTY, categories={}, other=0)
        verdicts = [
            verdict
            for feature in self.references
            if feature not in self.renewing
            for verdict in self._weigh_feature(spec, feature, pooled.get(feature, absent), start)
        ]
        for verdict in verdicts:
            self.relearning.setdefault(verdict.feature, Learner(self._width(spec), [verdict.feature]))
        return verdicts

    def _learn_on(self, spec: ModelSpec, start: float, pooled: dict[str, Pooled]) -> None:
        for feature in pooled:  # one that the first reference did not have
            if feature not in self.references and len(self.references) + len(self.relearning) < spec.max_features:
                self.renew(spec, feature, afresh=False)
        for feature in sorted(self.relearning):
            self._relearn(spec, feature, start, pooled)

    def _weigh_feature(self, spec: ModelSpec, feature: str, part: Pooled, start: float) -> list[Verdict]:
        reference = self.references[feature]
        local = local_seconds(start, spec.timezone)
        end = start + self._width(spec)
        verdicts: list[Verdict] = []
        for statistic, found in measure(part, reference, outlier_beyond=spec.outliers.beyond).items():
            monitor = self.monitors.get(f"{feature}/{statistic}")
            if monitor is None:
                continue
            expected = monitor.baseline.expected(local)
            alarm = monitor.weigh(start=start, local=local, found=found, errors=_errors(part) if feature == ERROR else None)
            if alarm is not None:
                words = describe(
                    statistic, value=found.value, expected=expected, pooled=part, reference=reference, is_error=feature == ERROR
                )
                verdicts.append(Verdict(feature, statistic, alarm[1], end, round(alarm[0], 3), words))
        return verdicts

    def _width(self, spec: ModelSpec) -> float:
        return spec.window_seconds if self.kind == "features" else spec.outcome_window_seconds

    def _adopt(self, spec: ModelSpec, learned: dict[str, Learned]) -> None:
        outcomes = self.kind == "outcomes"
        self.renewed = True
        detector = spec.errors.detector if outcomes else spec.detector
        direction: Direction = "up" if outcomes else "both"
        for feature, result in learned.items():
            self.references[feature] = result.reference
            for name in [name for name, monitor in self.monitors.items() if monitor.feature == feature]:
                del self.monitors[name]
            for statistic, baseline in result.baselines.items():
                if outcomes and statistic != "location":
                    continue
                monitor = Monitor(feature, statistic, detector, direction, baseline)
                self.monitors[monitor.name] = monitor

    def _relearn(self, spec: ModelSpec, feature: str, start: float, pooled: dict[str, Pooled]) -> None:
        learner = self.relearning[feature]
        learner.add(start, pooled)
        reference = spec.reference
        if feature in self.renewing and learner.ready(seconds=reference.seconds, min_windows=reference.min_windows):
            self._adopt(spec, learner.learn(timezone=spec.timezone, outlier_beyond=spec.outliers.beyond))
            self.renewing.discard(feature)
            del self.relearning[feature]

    def renew(self, spec: ModelSpec, feature: str, *, afresh: bool) -> None:
        """Replace a feature's reference: by what was seen since its alarm, or `afresh` from now on."""
        if self.learner is not None:
            return
        if afresh or feature not in self.relearning:
            self.relearning[feature] = Learner(self._width(spec), [feature])
        self.renewing.add(feature)

    def recovered(self) -> list[str]:
        """Return the features all of whose fired monitors are back at their baseline, and arm those again."""
        back: list[str] = []
        for feature in sorted(self.references):
            fired = [monitor for monitor in self._of(feature) if monitor.fired]
            if feature not in self.renewing and fired and all(monitor.recovered for monitor in fired):
                for monitor in fired:
                    monitor.rearm()
                self.relearning.pop(feature, None)
                back.append(feature)
        return back

    def _of(self, feature: str) -> list[Monitor]:
        return [monitor for monitor in self.monitors.values() if monitor.feature == feature]

    @property
    def learning(self) -> bool:
        """Whether the first reference is still being learned."""
        return self.learner is not None


def share_budget(spec: ModelSpec, judges: list[Judge]) -> None:
    """Give every monitor of the model its share of the false-alarm budget, and arm the new ones."""
    total = sum(len(judge.monitors) for judge in judges)
    for judge in judges:
        width = spec.window_seconds if judge.kind == "features" else spec.outcome_window_seconds
        limit = threshold(false_alarms_per_week=spec.false_alarms_per_week, window_seconds=width, monitors=total)
        for monitor in judge.monitors.values():
            monitor.take(limit)


def _errors(part: Pooled) -> tuple[int, int]:
    """Return (errors, outcomes) of a window whose values are 0 and 1; of others, values above one half count."""
    return round(float(part.weights[part.points > 0.5].sum())), round(part.numbers)
