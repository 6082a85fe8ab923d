"""The monitor of one model: all its state, fed with the windows topic record by record.

Rules:
1. State is a function of the records in their order, and of the specification. There is no clock and no randomness.
2. Features and outcomes are two channels that know nothing of each other (detectors/model/channel.py), so the order in which
   their windows interleave changes nothing. Only a decision or an acceptance reaches both.
3. Every finding carries an id made from its causes, so a receiver recognises a repeat.
4. A decision or an acceptance takes effect where it stands in the log. One that was carried into a history made again
   (streams/state/rebuild.py) names its place instead, and takes effect between the same two windows of each kind.
5. A reference set (detectors/reference/reference_set.py) is configuration, as the width of a window is. It is taken over at
   the beginning, and after a restart that names another one. A restart with the same set does not undo what was learned since.
6. A monitor works by the specification that is bound to it. `begin` binds one; a monitor from a snapshot has none until
   `bind`, or `reconfigure` where the specification may have changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from detectors.incidents.alert import Alert
from detectors.incidents.decision import Acceptance, Decided, Decision
from detectors.incidents.incident import Incident
from detectors.judging.kinds import KIND_RULES
from detectors.model.aligner import WindowAligner
from detectors.model.channel import Channel
from detectors.model.finding import Finding, ReferenceLearned
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import BoundSpec, ModelSpec, spec_of, width
from detectors.windows.record import Kind, Mark, Window


class Standing(msgspec.Struct):
    """A decision that waits for its place; `left` are the kinds of windows that have not reached it."""

    decision: Decided
    left: list[Kind]


class ModelMonitor(msgspec.Struct):
    """State of one model: a channel for each kind of windows, and the decisions that wait."""

    model: str
    channels: dict[Kind, Channel]
    #: Decisions carried into a history that was made again, in their order.
    standing: list[Standing] = []
    #: Version of the reference set that was taken over last; None if none ever was.
    reference_set: str | None = None
    #: Specification of the model; no part of a snapshot.
    bound: BoundSpec | None = None

    @classmethod
    def begin(cls, spec: ModelSpec) -> ModelMonitor:
        """Return the monitor of a model before its first window, with the references that the specification names."""
        reference_set = spec.reference.reference_set
        version = None if reference_set is None else reference_set.version
        channels = {kind: Channel.begin(spec, kind) for kind in KIND_RULES}
        return cls(spec.name, channels, reference_set=version, bound=BoundSpec(spec))

    def bind(self, spec: ModelSpec) -> None:
        """Work by this specification from now on: the one with which the state was made, as after a load."""
        self.bound = BoundSpec(spec)
        for channel in self.channels.values():
            channel.bind(spec)

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return spec_of(self.bound)

    def reconfigure(self, spec: ModelSpec) -> list[Finding]:
        """Bind a specification that may have changed, once after a restart, and return what follows from the change."""
        self.bind(spec)
        findings = [finding for channel in self.channels.values() for finding in channel.reconfigure()]
        reference_set = spec.reference.reference_set
        if reference_set is not None and reference_set.version != self.reference_set:
            self.reference_set = reference_set.version
            findings.extend(finding for channel in self.channels.values() for finding in channel.adopt())
        return findings

    def add(self, record: Window | Mark | Decided) -> list[Finding]:
        """Take one record of the windows topic and return what follows from it, in order."""
        if isinstance(record, Decided):
            return self._take_decision(record)
        channel = self.channels[record.kind]
        if isinstance(record, Window):
            # A window of another width was written before the configuration changed, and not judged by then.
            if record.seconds == width(self.spec, record.kind):
                channel.aligner.add(record)
            return []
        findings: list[Finding] = []
        for start, segments in channel.aligner.advance(record):
            findings.extend(self._reach(record.kind, start))
            findings.extend(channel.judge(start, segments))
        findings.extend(self._reach(record.kind, channel.aligner.complete()))
        return findings

    def _take_decision(self, decision: Decided) -> list[Finding]:
        if decision.place is None:
            return list(self._apply(decision, tuple(self.channels), self._furthest()))
        if all(standing.decision.id != decision.id for standing in self.standing):
            self.standing.append(Standing(decision, list(self.channels)))
        return [alert for kind, aligner in self.aligners.items() for alert in self._reach(kind, aligner.complete())]

    def _reach(self, kind: Kind, until: float) -> Iterable[Alert]:
        """Apply the decisions whose place in that kind of windows is at or before `until`, epoch seconds."""
        for standing in list(self.standing):
            place = standing.decision.place
            if place is None or kind not in standing.left or place.after.get(kind, -math.inf) > until:
                continue
            standing.left.remove(kind)
            yield from self._apply(standing.decision, (kind,), place.at)
        self.standing = [standing for standing in self.standing if standing.left]

    def _apply(self, decision: Decided, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        if isinstance(decision, Acceptance):
            return self._accept(decision, kinds, at)
        return self._decide(decision, kinds, at)

    def _accept(self, acceptance: Acceptance, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        """Make an accepted change the new normal from its alarm on, if its incident is still open."""
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

    def _decide(self, decision: Decision, kinds: Sequence[Kind], at: float) -> Iterable[Alert]:
        """After a swap, learn new references: of every feature that had drifted by then, and of what the model puts out."""
        why = f"new reference after the swap to version {decision.version}"
        asked_at = decision.requested_at
        for channel in (self.channels[kind] for kind in kinds):
            channel.retrains.answered(decision.request)
            if decision.result != "promoted":
                continue
            answered = [] if asked_at is None else channel.raised_by(asked_at)
            drifted = {(incident.segment, feature) for incident in answered for feature in incident.drifted}
            for judge in channel.judges.values():
                for feature in sorted(judge.references):
                    renewed = feature in channel.rules.renewed
                    known = (judge.segment, feature) in drifted or (asked_at is None and feature in decision.features)
                    if renewed or known:
                        judge.renew(feature, afresh=renewed)
                        yield from channel.incidents.feature_back(judge.segment, feature, at=at, why=why)

    def _furthest(self) -> float:
        """Return the event time that the furthest source of any kind has reached, epoch seconds; 0 before the first mark."""
        return max((reached for aligner in self.aligners.values() for reached in aligner.until.values()), default=0.0)

    @property
    def aligners(self) -> dict[Kind, WindowAligner]:
        """Kind of windows -> its aligner."""
        return {kind: channel.aligner for kind, channel in self.channels.items()}

    @property
    def open_incidents(self) -> list[Incident]:
        """The open incidents of both channels."""
        return [incident for channel in self.channels.values() for incident in channel.incidents.open]

    def spent(self) -> float:
        """Return the share of a week's false-alarm budget that the incidents of the last week of event time would have spent."""
        since = self._furthest() - WEEK_SECONDS
        opened = sum(channel.opened_since(since) for channel in self.channels.values())
        return opened / self.spec.false_alarms_per_week

    @property
    def learning(self) -> bool:
        """Whether any segment still learns its first reference, or none has begun."""
        judges = [judge for channel in self.channels.values() for judge in channel.judges.values()]
        return not judges or any(judge.learning for judge in judges)

    def learned(self) -> list[ReferenceLearned]:
        """Return every published reference that is in force, to publish it again after a restart."""
        return [
            ReferenceLearned(self.model, judge.segment, float("-inf"), dict(judge.references))
            for channel in self.channels.values()
            if channel.rules.published
            for judge in channel.judges.values()
            if judge.references
        ]
