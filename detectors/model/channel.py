"""A side: one kind of windows of one model, with its judges, incidents and retrain requests.

Rules:
1. A side knows nothing of the other one. Windows of features and of outcomes are written by different
   agents, and how they come to stand among each other in the topic is different in every run; so what
   follows from the one kind must not depend on how far the other has come.
2. Parts of a bucket (one from each source partition) wait until the marks of all sources have passed
   its end; then they are merged in order of source and judged, buckets in order of time. So the
   order in which sources interleave in the topic changes nothing.
3. A part that ends at or before its source's last mark is a repeat after a crash, and is ignored; so
   is a part that waits already. A source that was not there when a bucket was judged (partitions were
   added) knows nothing of that: its part of such a bucket is late, counted and not judged.
4. Segments beyond the limit are judged together, as `~other`: buckets may have named different ones.
5. Segments of a document (detectors/reference/reference_set.py) are judged from the first window on; the others learn first.
6. A segment without a window in a bucket that the model has come to had no rows then: its volume is judged. Of a silence
   the first `_MOST_SILENT` buckets are; how marks came to tell of it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from detectors.incidents.incident import Incident, Incidents
from detectors.incidents.retrain import Retrains
from detectors.judging.budget import SHARES
from detectors.judging.judge import Judge
from detectors.judging.shares import share_budget
from detectors.model.aligner import WindowAligner
from detectors.model.finding import Finding, ReferenceLearned
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, width
from detectors.windows.record import OTHER_SEGMENT, Kind, Window
from detectors.windows.row import VOLUME

#: Buckets of a silence that are judged.
_MOST_SILENT = 120
#: Alarms of the last week that are remembered.
_MOST_OPENED = 1000


class Channel(msgspec.Struct):
    """What is known of one kind of windows; `judges` is by segment."""

    model: str
    kind: Kind
    aligner: WindowAligner
    judges: dict[str, Judge]
    incidents: Incidents
    retrains: Retrains
    #: First second of the last bucket that was judged.
    last: float | None = None
    #: When incidents were opened in the last week of event time, epoch seconds.
    opened: list[float] = []

    @classmethod
    def begin(cls, spec: ModelSpec, kind: Kind) -> Channel:
        """Return the side of a model of which nothing is known yet."""
        enabled = spec.retrain.enabled and spec.factory is not None
        retrains = Retrains(spec.name, spec.retrain.cooldown_seconds, enabled)
        channel = cls(spec.name, kind, WindowAligner(), {}, Incidents(spec.name), retrains)
        channel.adopt(spec)
        return channel

    def adopt(self, spec: ModelSpec) -> list[Finding]:
        """Take over what the model's document says of this kind of windows, and return what follows.

        What was open about a feature whose reference is replaced ends, and what was being learned of it is dropped.
        """
        reference_set = spec.reference.reference_set
        if reference_set is None:
            return []
        findings: list[Finding] = []
        at = max(self.aligner.until.values(), default=0.0)
        why = f"new reference from the file that the configuration names, version {reference_set.version}"
        for segment, learned in reference_set.learned(self.kind).items():
            if not self._has_room(spec, segment):
                continue
            seconds = width(spec, self.kind)
            judge = self._judge_of(spec, segment, seconds)
            judge.adopt(learned)
            judge.renewed = False
            for feature in sorted(learned):
                findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
            if self.kind == "features":
                findings.append(ReferenceLearned(self.model, segment, at, dict(judge.references)))
        self._share_budget(spec)
        return findings

    def reconfigure(self, spec: ModelSpec) -> list[Finding]:
        """Take over what the configuration says now, and return what follows.

        Budget, detectors and retraining change at once. Another width of window begins anew: what was
        learned of windows of the old width says nothing about them, and what was open about it ends.
        """
        self.retrains.enabled = spec.retrain.enabled and spec.factory is not None
        self.retrains.cooldown_seconds = spec.retrain.cooldown_seconds
        findings: list[Finding] = []
        seconds = width(spec, self.kind)
        for segment, judge in list(self.judges.items()):
            if judge.seconds == seconds:
                judge.reconfigure(spec)
                at = max(self.aligner.until.values(), default=0.0)
                for feature in judge.unwatched(spec):
                    why = f"{feature} is not watched any more"
                    findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
                continue
            self.judges[segment] = Judge.begin(spec, self.kind, segment, seconds)
            self.last = None
            at = max(self.aligner.until.values(), default=0.0)
            why = f"windows are {seconds:g} s wide now, and a new reference is being learned"
            for feature in sorted(judge.references):
                findings.extend(self.incidents.feature_back(segment, feature, at=at, why=why))
        self.aligner.keep(seconds)
        self._share_budget(spec)
        return findings

    def _share_budget(self, spec: ModelSpec) -> None:
        share_budget(spec, list(self.judges.values()), share=SHARES[self.kind])

    def judge(self, spec: ModelSpec, start: float, segments: dict[str, list[Window]]) -> Iterable[Finding]:
        """Judge one complete bucket: segment -> parts in order of source."""
        self.aligner.judged += len(segments)
        yield from self._judge_silence(spec, start)
        self.last = start if self.last is None else max(start, self.last)
        together: dict[str, list[Window]] = {}
        for segment, parts in segments.items():
            together.setdefault(self._home(spec, segment, parts[0].seconds), []).extend(parts)
        silent = [home for home, judge in self.judges.items() if home not in together and VOLUME in judge.references]
        for home in silent:
            yield from self._judge(spec, self.judges[home], start, [])
        for home, parts in together.items():
            yield from self._judge(spec, self.judges[home], start, parts)

    def _judge_silence(self, spec: ModelSpec, start: float) -> Iterable[Finding]:
        """Judge the buckets between the last one and this, in which no segment had a row."""
        if self.last is None:
            return
        seconds = width(spec, self.kind)
        first, end = round(self.last / seconds) + 1, round(start / seconds)
        for place in range(first, min(end, first + _MOST_SILENT)):
            for judge in self.judges.values():
                if VOLUME in judge.references:
                    yield from self._judge(spec, judge, place * seconds, [])

    def _home(self, spec: ModelSpec, segment: str, seconds: float) -> str:
        """Return the segment whose judge is to have it, with a new judge if there is room for one."""
        if not self._has_room(spec, segment):
            segment = OTHER_SEGMENT
        self._judge_of(spec, segment, seconds)
        return segment

    def _judge_of(self, spec: ModelSpec, segment: str, seconds: float) -> Judge:
        if segment not in self.judges:
            self.judges[segment] = Judge.begin(spec, self.kind, segment, seconds)
        return self.judges[segment]

    def _has_room(self, spec: ModelSpec, segment: str) -> bool:
        apart = ("", OTHER_SEGMENT)
        if segment in self.judges or segment in apart:
            return True
        return sum(1 for known in self.judges if known not in apart) < spec.max_segments

    def _judge(self, spec: ModelSpec, judge: Judge, start: float, parts: list[Window]) -> Iterable[Finding]:
        segment = judge.segment
        end = (round(start / judge.seconds) + 1) * judge.seconds
        verdicts = judge.weigh(spec, start, parts)
        if judge.renewed:
            judge.renewed = False
            self._share_budget(spec)
            if self.kind == "features":
                yield ReferenceLearned(self.model, segment, end, dict(judge.references))
        if verdicts:
            told = self.incidents.open_or_update(
                segment, verdicts, window_seconds=judge.seconds, watched=len(judge.references), at=end
            )
            self.opened += [end for alert in told if alert.status == "opened"]
            self.opened = [at for at in self.opened if at > end - WEEK_SECONDS][-_MOST_OPENED:]
            yield from told
        for feature in judge.recovered():
            yield from self.incidents.feature_back(segment, feature, at=end, why=f"{feature} is back at its reference")
        request = self.retrains.consider(self.incidents.open, end)
        if request is not None:
            yield request

    def opened_since(self, at: float) -> int:
        """Return how many incidents of the last week were opened after that event time."""
        return sum(1 for opened in self.opened if opened > at)

    def raised_by(self, at: float) -> list[Incident]:
        """Return the open incidents that were raised at or before that event time."""
        return [incident for incident in self.incidents.open if incident.raised_at <= at]
