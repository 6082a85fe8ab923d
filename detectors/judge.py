"""Judge: merged windows of one model and segment -> verdicts, against a reference it learns itself.

Two streams are judged side by side, features and outcomes. While a reference is being learned nothing
is judged, and `learning` says so. A feature whose reference was replaced (after a swap) is learned anew
while the others stay under watch.
"""

from __future__ import annotations

import msgspec

from detectors.budget import threshold
from detectors.detector import Direction
from detectors.learner import Learned, Learner
from detectors.merge import Pooled, absent
from detectors.monitor import Monitor
from detectors.reference import FeatureReference
from detectors.row import ERROR, PREDICTION
from detectors.season import local_seconds
from detectors.spec import ModelSpec
from detectors.statistic import measure
from detectors.verdict import Verdict, describe
from detectors.window import Kind


class Judge(msgspec.Struct):
    """One kind of windows of one segment.

    Args:
        kind: of features, or of outcomes.
        segment: name of the segment.
        seconds: width of its windows.
        learner: collects the first reference; None once it is there.
        references: feature -> reference.
        monitors: `feature/statistic` -> monitor.
        relearning: feature -> learner, for features whose reference will be or is being replaced.
        renewing: features in `relearning` that are not judged meanwhile, in order (a set has none in a snapshot).
    """

    kind: Kind
    segment: str
    seconds: float
    learner: Learner | None
    references: dict[str, FeatureReference] = {}
    monitors: dict[str, Monitor] = {}
    relearning: dict[str, Learner] = {}
    renewing: dict[str, None] = {}
    #: Set when monitors were made: the budget has to be shared again.
    renewed: bool = False

    def weigh(self, spec: ModelSpec, start: float, pooled: dict[str, Pooled], *, rows: int) -> list[Verdict]:
        """Judge one merged window and return its alarms; the first ones are learned from.

        Args:
            spec: of the model.
            start: first second of the window, epoch seconds; windows come in order.
            pooled: feature -> its parts, merged.
            rows: in the window; a feature that is not in `pooled` is missing in all of them.
        """
        if spec.features and self.kind == "features":
            pooled = {name: part for name, part in pooled.items() if name in spec.features or name in PREDICTION}
        if self.learner is not None:
            if self.learner.since is not None and start - self.learner.until > spec.reference.seconds:
                # A gap longer than the whole stretch: what came before (one clock of 1970, say) is no part of it.
                self.learner = Learner(self.seconds)
            self.learner.add(start, pooled, rows=rows)
            if self.learner.ready(seconds=spec.reference.seconds, min_windows=spec.reference.min_windows):
                self._adopt(spec, self.learner.learn(timezone=spec.timezone, outlier_beyond=spec.outliers.beyond))
                self.learner = None
            return []
        self._learn_on(spec, start, pooled, rows)
        local = local_seconds(start, spec.timezone)
        nothing = absent(rows)
        verdicts = [
            verdict
            for feature in self.references
            if feature not in self.renewing
            for verdict in self._weigh_feature(spec, feature, pooled.get(feature, nothing), start, local)
        ]
        for verdict in verdicts:
            self.relearning.setdefault(verdict.feature, Learner(self.seconds, [verdict.feature]))
        return verdicts

    def _learn_on(self, spec: ModelSpec, start: float, pooled: dict[str, Pooled], rows: int) -> None:
        for feature in pooled:  # one that the first reference did not have
            known = feature in self.references or feature in self.relearning
            if not known and len(self.references.keys() | self.relearning.keys()) < spec.max_features:
                self.renew(feature, afresh=False)
        for feature in sorted(self.relearning):
            self._relearn(spec, feature, start, pooled, rows)

    def _weigh_feature(self, spec: ModelSpec, feature: str, part: Pooled, start: float, local: float) -> list[Verdict]:
        reference = self.references[feature]
        end = start + self.seconds
        verdicts: list[Verdict] = []
        for statistic, found in measure(part, reference, outlier_beyond=spec.outliers.beyond).items():
            monitor = self.monitors.get(f"{feature}/{statistic}")
            if monitor is None:
                continue
            alarm = monitor.weigh(start=start, local=local, found=found, errors=_errors(part) if feature == ERROR else None)
            if alarm is not None:
                expected = monitor.baseline.expected(local)  # a window that raised an alarm has moved nothing
                words = describe(
                    statistic, value=found.value, expected=expected, pooled=part, reference=reference, is_error=feature == ERROR
                )
                verdicts.append(Verdict(feature, statistic, alarm[1], end, round(alarm[0], 3), words))
        return verdicts

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

    adopt = _adopt

    def _relearn(self, spec: ModelSpec, feature: str, start: float, pooled: dict[str, Pooled], rows: int) -> None:
        learner = self.relearning[feature]
        learner.add(start, pooled, rows=rows)
        reference = spec.reference
        if feature in self.renewing and learner.ready(seconds=reference.seconds, min_windows=reference.min_windows):
            self._adopt(spec, learner.learn(timezone=spec.timezone, outlier_beyond=spec.outliers.beyond))
            self.renewing.pop(feature, None)
            del self.relearning[feature]

    def renew(self, feature: str, *, afresh: bool) -> None:
        """Replace a feature's reference: by what was seen since its alarm, or `afresh` from now on."""
        if self.learner is not None:
            return
        if afresh or feature not in self.relearning:
            self.relearning[feature] = Learner(self.seconds, [feature])
        self.renewing[feature] = None

    def recovered(self) -> list[str]:
        """Return the features all of whose fired monitors are back at their baseline, and arm those again."""
        fired: dict[str, list[Monitor]] = {}
        for monitor in self.monitors.values():
            if monitor.fired and monitor.feature not in self.renewing:
                fired.setdefault(monitor.feature, []).append(monitor)
        back = sorted(feature for feature, monitors in fired.items() if all(monitor.recovered for monitor in monitors))
        for feature in back:
            for monitor in fired[feature]:
                monitor.rearm()
            self.relearning.pop(feature, None)
        return back

    def fit(self, spec: ModelSpec) -> None:
        """Let the detectors be those that the configuration names now; others start anew on the same baselines."""
        detector = spec.errors.detector if self.kind == "outcomes" else spec.detector
        for monitor in self.monitors.values():
            if monitor.detector != detector:
                monitor.exchange(detector)  # one that fired stays so: its incident is open, and ends when it has recovered

    @property
    def learning(self) -> bool:
        """Whether the first reference is still being learned."""
        return self.learner is not None


def share_budget(spec: ModelSpec, judges: list[Judge], *, share: float) -> None:
    """Give every monitor its part of a share of the model's false-alarm budget, and arm the new ones."""
    total = sum(len(judge.monitors) for judge in judges)
    for judge in judges:
        limit = threshold(false_alarms_per_week=share * spec.false_alarms_per_week, window_seconds=judge.seconds, monitors=total)
        for monitor in judge.monitors.values():
            monitor.take(limit)


def _errors(part: Pooled) -> tuple[int, int]:
    """Return (errors, outcomes) of a window whose values are 0 and 1; of others, values above one half count."""
    return round(float(part.weights[part.points > 0.5].sum())), round(part.numbers)
