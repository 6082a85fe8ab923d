"""A channel: one kind of windows of one model, with its judges, incidents and retrain requests.

Rules:
1. A channel knows nothing of the other one. Different agents write the windows of features and of outcomes, so their order
   in the topic differs from run to run; what follows from one kind must not depend on how far the other has come.
2. A bucket has a part from each source partition. Parts wait until the marks of all sources have passed the end of the
   bucket (detectors/model/aligner.py). Then they are merged in order of source and judged, buckets in order of time. So the
   order in which sources interleave in the topic changes nothing.
3. A part that ends at or before its source's last mark is a repeat after a crash, and is ignored; so is a second copy of a
   part that waits. A source that appeared after a bucket was judged (partitions were added) comes too late for it: its part
   is counted as late and not judged.
4. Segments beyond the limit are judged together, as `~other`: buckets may have named different ones.
5. Segments of a reference set (detectors/reference/reference_set.py) are judged from the first window on; the others learn
   first.
6. A segment without a window in a bucket that the model has reached had no rows in it: its volume is judged. In a longer
   silence only the first `_MOST_SILENT` buckets are judged, so the order in which the marks came changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detectors.incidents.incident import Incident, Incidents
from detectors.incidents.retrain import Retrains
from detectors.judging.judge import Judge
from detectors.judging.kinds import KIND_RULES, KindRules
from detectors.judging.shares import share_budget
from detectors.model.aligner import WindowAligner
from detectors.model.finding import Finding, ReferenceLearned
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import BoundSpec, ModelSpec, spec_of, width
from detectors.windows.record import OTHER_SEGMENT, Kind, Window
from detectors.windows.row import VOLUME

#: Buckets of a silence that are judged.
_MOST_SILENT = 120
#: Openings of incidents in the last week that are remembered.
_MOST_OPENED = 1000


class Channel(msgspec.Struct):
    """State of one kind of windows; `judges` is by segment."""

    model: str
    kind: Kind
    aligner: WindowAligner
    judges: dict[str, Judge]
    incidents: Incidents
    retrains: Retrains
    #: First second of the last bucket that was judged, epoch seconds.
    last: float | None = None
    #: When incidents were opened in the last week of event time, epoch seconds.
    opened: list[float] = []
    #: Specification of the model; no part of a snapshot.
    bound: BoundSpec | None = None

    @classmethod
    def begin(cls, spec: ModelSpec, kind: Kind) -> Channel:
        """Return the channel of a model before its first window."""
        enabled = spec.retrain.enabled and spec.factory is not None
        retrains = Retrains(spec.name, spec.retrain.cooldown_seconds, enabled)
        channel = cls(spec.name, kind, WindowAligner(), {}, Incidents(spec.name), retrains, bound=BoundSpec(spec))
        channel.adopt()
        return channel

    def bind(self, spec: ModelSpec) -> None:
        """Work by this specification from now on."""
        self.bound = BoundSpec(spec)
        for judge in self.judges.values():
            judge.bind(spec)

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return spec_of(self.bound)

    @property
    def rules(self) -> KindRules:
        """What differs from the other kind of windows."""
        return KIND_RULES[self.kind]

    def adopt(self) -> list[Finding]:
        """Take over the references of this kind of windows that the specification names, and return what follows.

        An incident of a feature whose reference is replaced ends, and the learner of that feature is dropped.
        """
        reference_set = self.spec.reference.reference_set
        if reference_set is None:
            return []
        findings: list[Finding] = []
        at = self._furthest()
        why = f"new reference from the file that the configuration names, version {reference_set.version}"
        for segment, learned in reference_set.learned(self.kind).items():
            if not self._has_room(segment):
                continue
            judge = self._judge_of(segment, width(self.spec, self.kind))
            judge.adopt(learned)
            for feature in sorted(learned):
                findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
            if self.rules.published:
                findings.append(ReferenceLearned(self.model, segment, at, dict(judge.references)))
        self._share_budget()
        return findings

    def reconfigure(self) -> list[Finding]:
        """Let what was learned follow the specification that is bound now, and return what follows.

        Budget, detectors and retraining change at once. Another width of window begins anew: what was learned of windows of
        the old width says nothing about the new ones, and incidents of it end.
        """
        spec = self.spec
        self.retrains.enabled = spec.retrain.enabled and spec.factory is not None
        self.retrains.cooldown_seconds = spec.retrain.cooldown_seconds
        findings: list[Finding] = []
        seconds = width(spec, self.kind)
        at = self._furthest()
        for segment, judge in list(self.judges.items()):
            if judge.seconds == seconds:
                judge.reconfigure()
                for feature in judge.unwatched():
                    why = f"{feature} is not watched any more"
                    findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
                continue
            self.judges[segment] = Judge.begin(spec, self.kind, segment, seconds)
            self.last = None
            why = f"windows are {seconds:g} s wide now, and a new reference is being learned"
            for feature in sorted(judge.references):
                findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
        self.aligner.keep(seconds)
        self._share_budget()
        return findings

    def _furthest(self) -> float:
        """Return the event time that the furthest source has reached, epoch seconds; 0 before the first mark."""
        return max(self.aligner.until.values(), default=0.0)

    def _share_budget(self) -> None:
        share_budget(self.spec, list(self.judges.values()), share=self.rules.share)

    def judge(self, start: float, segments: dict[str, list[Window]]) -> Iterable[Finding]:
        """Judge one complete bucket.

        Args:
            start: first second of the bucket, epoch seconds.
            segments: segment -> parts in order of source.
        """
        self.aligner.judged += len(segments)
        yield from self._judge_silence(start)
        self.last = start if self.last is None else max(start, self.last)
        by_judge: dict[str, list[Window]] = {}
        for segment, parts in segments.items():
            by_judge.setdefault(self._home(segment, parts[0].seconds), []).extend(parts)
        silent = [home for home, judge in self.judges.items() if home not in by_judge and VOLUME in judge.references]
        for home in silent:
            yield from self._judge(self.judges[home], start, [])
        for home, parts in by_judge.items():
            yield from self._judge(self.judges[home], start, parts)

    def _judge_silence(self, start: float) -> Iterable[Finding]:
        """Judge the buckets between the last one and this, in which no segment had a row."""
        if self.last is None:
            return
        seconds = width(self.spec, self.kind)
        first, end = round(self.last / seconds) + 1, round(start / seconds)
        for bucket in range(first, min(end, first + _MOST_SILENT)):
            for judge in self.judges.values():
                if VOLUME in judge.references:
                    yield from self._judge(judge, bucket * seconds, [])

    def _home(self, segment: str, seconds: float) -> str:
        """Return the segment that judges the windows of a segment: its own, or `~other` beyond the limit."""
        if not self._has_room(segment):
            segment = OTHER_SEGMENT
        self._judge_of(segment, seconds)
        return segment

    def _judge_of(self, segment: str, seconds: float) -> Judge:
        if segment not in self.judges:
            self.judges[segment] = Judge.begin(self.spec, self.kind, segment, seconds)
        return self.judges[segment]

    def _has_room(self, segment: str) -> bool:
        unlimited = ("", OTHER_SEGMENT)
        if segment in self.judges or segment in unlimited:
            return True
        return sum(1 for known in self.judges if known not in unlimited) < self.spec.max_segments

    def _judge(self, judge: Judge, start: float, parts: list[Window]) -> Iterable[Finding]:
        segment = judge.segment
        end = (round(start / judge.seconds) + 1) * judge.seconds
        verdicts, renewed = judge.weigh(start, parts)
        share = min((part.share for part in parts if part.share is not msgspec.UNSET), default=1.0)
        if share < 1.0:
            sample = f", from 1 in {1 / share:g} predictions"
            verdicts = [msgspec.structs.replace(verdict, words=verdict.words + sample) for verdict in verdicts]
        if renewed:
            self._share_budget()
            if self.rules.published:
                yield ReferenceLearned(self.model, segment, end, dict(judge.references))
        if verdicts:
            alerts = self.incidents.open_or_update(
                segment, verdicts, window_seconds=judge.seconds, watched=len(judge.references), at=end
            )
            self.opened += [end for alert in alerts if alert.status == "opened"]
            self.opened = [at for at in self.opened if at > end - WEEK_SECONDS][-_MOST_OPENED:]
            yield from alerts
        for feature in judge.recovered():
            yield from self.incidents.feature_back(segment, feature, at=end, why=f"{feature} is back at its reference")
        request = self.retrains.consider(self.incidents.open, end)
        if request is not None:
            yield request

    def opened_since(self, at: float) -> int:
        """Return how many incidents of the last week were opened after that event time, epoch seconds."""
        return sum(1 for opened in self.opened if opened > at)

    def raised_by(self, at: float) -> list[Incident]:
        """Return the open incidents that were raised at or before that event time, epoch seconds."""
        return [incident for incident in self.incidents.open if incident.raised_at <= at]
