"""Watch: everything that is known of one model, fed by the windows topic record by record.

Rules:
1. State is a function of the records in their order. Nothing else goes in: no clock, no randomness.
2. Parts of a bucket (one from each source partition) wait until the marks of all sources have passed
   its end; then they are merged in order of source and judged, buckets in order of time. So the
   order in which sources interleave in the topic changes nothing.
3. A part that ends at or before its source's last mark is a repeat after a crash, and is ignored; so
   is a part that waits already.
4. What comes out carries ids made from its causes, so a repeat of an output is recognised too.
5. Segments beyond the limit are judged together, as `~other`: buckets may have named different ones.
6. A decision holds from where it stands in the log. One that was carried into a history made again
   (streams/rebuild.py) names its place instead, and holds between the same two windows of each kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from detectors.alert import Alert
from detectors.decision import Decision
from detectors.incident import Incidents
from detectors.judge import Judge, share_budget
from detectors.learner import Learner
from detectors.merge import pool
from detectors.reference import FeatureReference
from detectors.retrain import Request, Retrains
from detectors.row import PREDICTION
from detectors.spec import ModelSpec
from detectors.window import OTHER_SEGMENT, Kind, Mark, Window


class ReferenceLearned(msgspec.Struct, frozen=True):
    """A segment got a reference for features: what the outlier scorer needs.

    Args:
        at: event time from which it holds, epoch seconds.
        features: feature -> reference, the whole set of the segment.
    """

    model: str
    segment: str
    at: float
    features: dict[str, FeatureReference]


Finding = Alert | Request | ReferenceLearned

_KINDS: tuple[Kind, ...] = ("features", "outcomes")


class Stream(msgspec.Struct):
    """One kind of windows of the model, on its way to being complete.

    Args:
        until: source partition -> end of its last mark, epoch seconds.
        sources: how many source partitions there are.
        parts: start of bucket -> segment -> source -> part that waits.
        judged: windows judged so far.
    """

    until: dict[int, float] = {}
    sources: int = 0
    parts: dict[float, dict[str, dict[int, Window]]] = {}
    judged: int = 0

    def take(self, window: Window) -> None:
        """Let a part wait for the others of its bucket."""
        if window.end <= self.until.get(window.source, float("-inf")):
            return
        self.parts.setdefault(window.start, {}).setdefault(window.segment, {}).setdefault(window.source, window)

    def advance(self, mark: Mark) -> list[tuple[float, dict[str, list[Window]]]]:
        """Take a mark and return the buckets that it completes: (start, segment -> parts by source) in order."""
        self.sources = mark.sources
        if mark.until > self.until.get(mark.source, float("-inf")):
            self.until[mark.source] = mark.until
        complete = self.complete()
        ready: list[tuple[float, dict[str, list[Window]]]] = []
        for start in sorted(self.parts):
            segments = self.parts[start]
            if next(iter(next(iter(segments.values())).values())).end > complete:
                break
            ready.append((start, {name: [part for _, part in sorted(segments[name].items())] for name in sorted(segments)}))
            del self.parts[start]
        return ready

    def complete(self) -> float:
        """Return the event time up to which all sources have come, -inf before the first mark of each.

        A source that there is no more, because the topic was made again with fewer, holds up nobody.
        """
        return min((self.until.get(source, -math.inf) for source in range(self.sources)), default=-math.inf)

    def behind(self) -> dict[int, float]:
        """Return the sources that hold the others up: number -> event time that the furthest has reached."""
        if not self.until:
            return {}
        furthest = max(self.until.values())
        return {source: furthest for source in range(self.sources) if self.until.get(source, float("-inf")) < furthest}


def _width(spec: ModelSpec, kind: Kind) -> float:
    return spec.window_seconds if kind == "features" else spec.outcome_window_seconds


class Standing(msgspec.Struct):
    """A decision that waits for its place: the kinds of windows it is still to reach, and the incidents it answers."""

    decision: Decision
    left: list[Kind]
    answered: list[str] | None = None


class Watch(msgspec.Struct):
    """One model: its judges, incidents and retrain requests."""

    model: str
    incidents: Incidents
    retrains: Retrains
    streams: dict[Kind, Stream] = {}
    judges: dict[str, Judge] = {}
    #: Decisions carried into a history that was made again, in their order.
    standing: list[Standing] = []

    @classmethod
    def begin(cls, spec: ModelSpec) -> Watch:
        """Return the watch of a model of which nothing is known yet."""
        enabled = spec.retrain.enabled and spec.factory is not None
        return cls(spec.name, Incidents(spec.name), Retrains(spec.name, spec.retrain.cooldown_seconds, enabled))

    def fit(self, spec: ModelSpec) -> list[Finding]:
        """Take over what the configuration says now, and return what follows; to be called once after a restart.

        Budget, detectors and retraining change at once. Another width of window begins anew: what was
        learned of windows of the old width says nothing about them, and what was open about it ends.
        """
        self.retrains.enabled = spec.retrain.enabled and spec.factory is not None
        self.retrains.cooldown_seconds = spec.retrain.cooldown_seconds
        findings: list[Finding] = []
        for name, judge in list(self.judges.items()):
            seconds = _width(spec, judge.kind)
            if judge.seconds == seconds:
                judge.fit(spec)
                continue
            self.judges[name] = Judge(judge.kind, judge.segment, seconds, Learner(seconds))
            stream = self.streams.setdefault(judge.kind, Stream())
            stream.parts = {}
            at = max(stream.until.values(), default=0.0)
            why = f"windows are {seconds:g} s wide now, and a new reference is being learned"
            for feature in sorted(judge.references):
                findings.extend(self.incidents.feature_back(judge.segment, feature, at=at, why=why))
        share_budget(spec, list(self.judges.values()))
        return findings

    def add(self, spec: ModelSpec, record: Window | Mark | Decision) -> list[Finding]:
        """Take one record of the windows topic and return what follows from it, in order."""
        if isinstance(record, Window):
            if record.seconds != _width(spec, record.kind):  # written before the configuration changed, not judged by then
                return []
            self.streams.setdefault(record.kind, Stream()).take(record)
            return []
        if isinstance(record, Decision):
            return self._take_decision(record)
        findings: list[Finding] = []
        stream = self.streams.setdefault(record.kind, Stream())
        for start, segments in stream.advance(record):
            findings.extend(self._reach(record.kind, start))
            stream.judged += len(segments)
            together: dict[str, list[Window]] = {}
            for segment, parts in segments.items():
                together.setdefault(self._home(spec, record.kind, segment, parts[0].seconds), []).extend(parts)
            for home, parts in together.items():
                findings.extend(self._judge(spec, self.judges[home], start, parts))
        findings.extend(self._reach(record.kind, stream.complete()))
        return findings

    def _home(self, spec: ModelSpec, kind: Kind, segment: str, seconds: float) -> str:
        """Return the name of the judge of a segment, a new one if there is room for it."""
        apart = ("", OTHER_SEGMENT)
        if f"{kind}/{segment}" not in self.judges and segment not in apart:
            named = sum(1 for judge in self.judges.values() if judge.kind == kind and judge.segment not in apart)
            segment = segment if named < spec.max_segments else OTHER_SEGMENT
        self.judges.setdefault(f"{kind}/{segment}", Judge(kind, segment, seconds, Learner(seconds)))
        return f"{kind}/{segment}"

    def _judge(self, spec: ModelSpec, judge: Judge, start: float, parts: list[Window]) -> Iterable[Finding]:
        segment = judge.segment
        end = parts[0].end
        verdicts = judge.weigh(spec, start, pool(parts), rows=sum(part.n for part in parts))
        if judge.renewed:
            judge.renewed = False
            share_budget(spec, list(self.judges.values()))
            if judge.kind == "features":
                yield ReferenceLearned(self.model, segment, end, dict(judge.references))
        if verdicts:
            yield from self.incidents.open_or_update(
                segment, verdicts, window_seconds=parts[0].seconds, watched=len(judge.references)
            )
        for feature in judge.recovered():
            yield from self.incidents.feature_back(segment, feature, at=end, why=f"{feature} is back at its reference")
        request = self.retrains.consider(self.incidents.open, end)
        if request is not None:
            yield request

    def _take_decision(self, decision: Decision) -> list[Finding]:
        if decision.place is None:
            at = max((reached for stream in self.streams.values() for reached in stream.until.values()), default=0.0)
            request = self.retrains.answered(decision.request)
            return list(self._decided(decision, _KINDS, None if request is None else request.incidents, at))
        if all(standing.decision.id != decision.id for standing in self.standing):
            self.standing.append(Standing(decision, list(_KINDS)))
        return [found for kind in _KINDS for found in self._reach(kind, self._complete(kind))]

    def _complete(self, kind: Kind) -> float:
        return self.streams[kind].complete() if kind in self.streams else -math.inf

    def _reach(self, kind: Kind, until: float) -> Iterable[Alert]:
        """Let the decisions hold whose place in that kind of windows is at or before `until`."""
        for standing in list(self.standing):
            place = standing.decision.place
            if place is None or kind not in standing.left or place.after.get(kind, -math.inf) > until:
                continue
            request = self.retrains.answered(standing.decision.request)
            if request is not None:
                standing.answered = request.incidents
            standing.left.remove(kind)
            yield from self._decided(standing.decision, (kind,), standing.answered, place.at)
        self.standing = [standing for standing in self.standing if standing.left]

    def _decided(self, decision: Decision, kinds: Sequence[Kind], answered: list[str] | None, at: float) -> Iterable[Alert]:
        """After a swap the new regime is what is normal: for what drifted, and for what the model puts out."""
        if decision.outcome != "promoted":
            return
        incidents = list(self.incidents.open)
        why = f"new reference after the swap to version {decision.version}"
        for judge in self.judges.values():
            if judge.kind not in kinds:
                continue
            for feature in sorted(judge.references):
                renewed = judge.kind == "outcomes" or feature in PREDICTION
                mine = {one.id for one in incidents if one.segment == judge.segment and feature in one.drifted}
                if renewed or mine & set(answered or ()) or (answered is None and feature in decision.features):
                    judge.renew(feature, afresh=renewed)
                    yield from self.incidents.feature_back(judge.segment, feature, at=at, why=why)

    @property
    def learning(self) -> bool:
        """Whether any segment still learns its first reference, or none has begun."""
        return not self.judges or any(judge.learning for judge in self.judges.values())

    def learned(self) -> list[ReferenceLearned]:
        """Return every reference in force (to publish again after a restart)."""
        return [
            ReferenceLearned(self.model, judge.segment, float("-inf"), dict(judge.references))
            for judge in self.judges.values()
            if judge.kind == "features" and judge.references
        ]
