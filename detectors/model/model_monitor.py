"""Watch: everything that is known of one model, fed by the windows topic record by record.

Rules:
1. State is a function of the records in their order. Nothing else goes in: no clock, no randomness.
2. Features and outcomes are two sides that know nothing of each other (detectors/model/channel.py), so how their
   windows interleave in the topic changes nothing. Only a decision or an acceptance reaches both.
3. What comes out carries ids made from its causes, so a repeat of an output is recognised.
4. A decision or acceptance holds from where it stands in the log. One that was carried into a history made
   again (streams/state/rebuild.py) names its place instead, and holds between the same two windows of each kind.
5. A document (detectors/reference/reference_set.py) is configuration, as the width of a window is: taken over at the beginning,
   and again after a restart that names another one. What was learned since is not undone by a restart with the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from detectors.incidents.alert import Alert
from detectors.incidents.decision import Acceptance, Decided, Decision
from detectors.incidents.incident import Incident
from detectors.model.aligner import WindowAligner
from detectors.model.channel import Channel
from detectors.model.finding import Finding, ReferenceLearned
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, width
from detectors.windows.record import Kind, Mark, Window
from detectors.windows.row import PREDICTION

_KINDS: tuple[Kind, ...] = ("features", "outcomes")


class Standing(msgspec.Struct):
    """A decision that waits for its place; `left` are the kinds of windows that have not reached it."""

    decision: Decided
    left: list[Kind]


class ModelMonitor(msgspec.Struct):
    """One model: its two sides, and the decisions that wait."""

    model: str
    channels: dict[Kind, Channel]
    #: Decisions carried into a history that was made again, in their order.
    standing: list[Standing] = []
    #: Version of the document that was taken over last, None if none ever was.
    reference_set: str | None = None

    @classmethod
    def begin(cls, spec: ModelSpec) -> ModelMonitor:
        """Return the watch of a model of which nothing is known yet but what its document says."""
        reference_set = spec.reference.reference_set
        version = None if reference_set is None else reference_set.version
        return cls(spec.name, {kind: Channel.begin(spec, kind) for kind in _KINDS}, reference_set=version)

    def reconfigure(self, spec: ModelSpec) -> list[Finding]:
        """Take over what the configuration says now, and return what follows; to be called once after a restart."""
        findings = [finding for channel in self.channels.values() for finding in channel.reconfigure(spec)]
        reference_set = spec.reference.reference_set
        if reference_set is not None and reference_set.version != self.reference_set:
            self.reference_set = reference_set.version
            findings.extend(finding for channel in self.channels.values() for finding in channel.adopt(spec))
        return findings

    def add(self, spec: ModelSpec, record: Window | Mark | Decided) -> list[Finding]:
        """Take one record of the windows topic and return what follows from it, in order."""
        if isinstance(record, Decided):
            return self._take_decision(record)
        channel = self.channels[record.kind]
        if isinstance(record, Window):
            if record.seconds == width(spec, record.kind):  # else written before the configuration changed, not judged by then
                channel.aligner.add(record)
            return []
        findings: list[Finding] = []
        for start, segments in channel.aligner.advance(record):
            findings.extend(self._reach(record.kind, start))
            findings.extend(channel.judge(spec, start, segments))
        findings.extend(self._reach(record.kind, channel.aligner.complete()))
        return findings

    def _take_decision(self, decision: Decided) -> list[Finding]:
        if decision.place is None:
            at = max((reached for aligner in self.aligners.values() for reached in aligner.until.values()), default=0.0)
            return list(self._hold(decision, _KINDS, at))
        if all(standing.decision.id != decision.id for standing in self.standing):
            self.standing.append(Standing(decision, list(_KINDS)))
        return [found for kind in _KINDS for found in self._reach(kind, self.channels[kind].aligner.complete())]

    def _reach(self, kind: Kind, until: float) -> Iterable[Alert]:
        """Let the decisions hold whose place in that kind of windows is at or before `until`."""
        for standing in list(self.standing):
            place = standing.decision.place
            if place is None or kind not in standing.left or place.after.get(kind, -math.inf) > until:
                continue
            standing.left.remove(kind)
            yield from self._hold(standing.decision, (kind,), place.at)
        self.standing = [standing for standing in self.standing if standing.left]

    def _hold(self, decision: Decided, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        if isinstance(decision, Acceptance):
            return self._accepted(decision, kinds, at)
        return self._decided(decision, kinds, at)

    def _accepted(self, acceptance: Acceptance, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        """Let what is accepted and still open be normal from its alarm on; what has ended meanwhile is left as it is."""
        for channel in (self.channels[kind] for kind in kinds):
            known = channel.raised_by(acceptance.seen.get(channel.kind, -math.inf))
            drifted = {(incident.segment, feature) for incident in known for feature in incident.drifted}
            for segment, judge in channel.judges.items():
                named = (
                    change.feature for change in acceptance.changes if (change.kind, change.segment) == (channel.kind, segment)
                )
                features = sorted(feature for feature in set(named) if (segment, feature) in drifted)
                for feature in features:
                    judge.renew(feature, afresh=False)
                    why = f"accepted as the new normal: {', '.join(features)}"
                    yield from channel.incidents.feature_back(segment, feature, at=at, why=why)

    def _decided(self, decision: Decision, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        """After a swap the new regime is what is normal: for what had drifted by then, and for what the model puts out."""
        why = f"new reference after the swap to version {decision.version}"
        asked_at = decision.requested_at
        for channel in (self.channels[kind] for kind in kinds):
            channel.retrains.answered(decision.request)
            if decision.outcome != "promoted":
                continue
            answered = [] if asked_at is None else channel.raised_by(asked_at)
            drifted = {(incident.segment, feature) for incident in answered for feature in incident.drifted}
            for judge in channel.judges.values():
                for feature in sorted(judge.references):
                    renewed = channel.kind == "outcomes" or feature in PREDICTION
                    known = (judge.segment, feature) in drifted or (asked_at is None and feature in decision.features)
                    if renewed or known:
                        judge.renew(feature, afresh=renewed)
                        yield from channel.incidents.feature_back(judge.segment, feature, at=at, why=why)

    @property
    def aligners(self) -> dict[Kind, WindowAligner]:
        """Kind of windows -> how far it has come."""
        return {kind: channel.aligner for kind, channel in self.channels.items()}

    @property
    def open_incidents(self) -> list[Incident]:
        """The open incidents of both sides."""
        return [incident for channel in self.channels.values() for incident in channel.incidents.open]

    def spent(self, spec: ModelSpec) -> float:
        """Return the share of a week's false-alarm budget that the incidents of the last week of event time would have spent."""
        now = max((reached for aligner in self.aligners.values() for reached in aligner.until.values()), default=0.0)
        return sum(channel.opened_since(now - WEEK_SECONDS) for channel in self.channels.values()) / spec.false_alarms_per_week

    @property
    def learning(self) -> bool:
        """Whether any segment still learns its first reference, or none has begun."""
        judges = [judge for channel in self.channels.values() for judge in channel.judges.values()]
        return not judges or any(judge.learning for judge in judges)

    def learned(self) -> list[ReferenceLearned]:
        """Return every reference in force (to publish again after a restart)."""
        return [
            ReferenceLearned(self.model, judge.segment, float("-inf"), dict(judge.references))
            for judge in self.channels["features"].judges.values()
            if judge.references
        ]
