"""The judge stage: one partition of the windows topic -> alerts, retrain requests, references.

Rules:
1. State and outbox change in one step; a flush sends, awaits the acknowledgements, stores the
   snapshot, and only then lets the offset be committed.
2. The snapshot carries its offset and wins over Kafka's committed one, in both directions.
3. A snapshot is replaced by compare-and-set on the offset it was loaded or last stored with, so a
   worker that lost the partition cannot overwrite the state of the one that has it.
4. The wall clock decides one thing only: when to write a tick (streams/stages/ticking.py). The tick is in the
   log, so what follows from it can be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from detectors.errors import EventError, SignatureError, StateError
from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.model.aligner import WindowAligner
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec, shapes_of
from detectors.windows.record import Kind, Mark, WindowShape
from streams.engine.stage import Checkpoint
from streams.engine.transport import LogState
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.records import window_codec
from streams.records.cloudevents import event_of
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings
from streams.stages.ticking import Ticking
from streams.state import snapshot
from streams.state.references import References
from streams.state.store import Store
from streams.topics import ALERTS, RETRAINS, Topic, topic_name

#: A snapshot is stored at most so often, unless alerts wait for it or the partition is about to go.
_SNAPSHOT_SECONDS = 1.0
#: ... and rests for so many times as long as it took: a large state must not be all that a worker does.
_SNAPSHOT_PAUSE = 5.0


async def load_state(
    store: Store, name: str, log: LogState, end_now: Callable[[], int] | None = None
) -> tuple[int | None, dict[str, ModelMonitor]]:
    """Return (offset, state) of a stored snapshot that fits the log, or (None, {}) when there is none.

    Args:
        store: where it is.
        name: of the snapshot.
        log: what the broker said of the partition.
        end_now: asks the broker again. A worker that was frozen since it asked may find the snapshot of another one, which
            has had the partition meanwhile, beyond what the log was then.

    Raises:
        StateError: it stands beyond the end of the log or before its beginning, was altered, or is of another make.
        UnavailableError: Redis is away.
    """
    try:
        stored = await asyncio.to_thread(store.load_snapshot, name)
    except SignatureError as error:
        raise SignatureError(f"{error}; or {snapshot.REBUILD}") from None
    if stored is None:
        return None, {}
    offset, payload = stored
    end = log.end
    if offset > end and end_now is not None:
        end = await asyncio.to_thread(end_now)
    if offset > end:
        raise StateError(
            f"snapshot {name} stands at offset {offset}, but the windows topic ends at {end}: it was created again, or the "
            f"broker lost its end; {snapshot.REBUILD}"
        )
    if offset < log.first:
        raise StateError(
            f"snapshot {name} stands at offset {offset}, but the windows topic begins at {log.first}: retention removed "
            f"{log.first - offset} records before they were judged; {snapshot.REBUILD} as far as it goes"
        )
    return offset, snapshot.load(name, payload)


class JudgeStage:
    """The watches of the models whose windows are in one partition."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        store: Store,
        references: References,
        metrics: Metrics,
        models: Mapping[str, ModelSpec],
        partition: int,
        log: LogState,
        stored: int | None,
        monitors: dict[str, ModelMonitor],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on from `monitors`; `stored` is the offset of the snapshot they came from, None without one."""
        self._kafka = kafka
        self._store = store
        self._references = references
        self._metrics = metrics
        self._models = models
        self._name = snapshot.name_of(partition)
        self._partition = partition
        self._watches = monitors
        self._stored = stored
        self._outbox: list[Outgoing] = []
        self._learned: list[ReferenceLearned] = [one for monitor in monitors.values() for one in monitor.learned()]
        self._clock = clock
        self._saved_at = clock()
        self._took = 0.0
        self._shapes: dict[Kind, dict[str, WindowShape]] = {kind: shapes_of(models, kind) for kind in ("features", "outcomes")}
        self._ticking = Ticking(kafka, self._shapes)
        self.start = stored if stored is not None else log.first
        self._documents: list[ReferenceSet] = []
        for name, monitor in monitors.items():
            if name in models:
                for finding in monitor.reconfigure(models[name]):
                    self._note(finding)
                self._note_document(models[name])

    @property
    def outbox_size(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outbox)

    async def feed(self, batch: Batch, position: int) -> None:
        """Take the records of a batch from `position` on."""
        for record in batch.records(position):
            try:
                parsed = window_codec.parse(record.value)
            except EventError as error:
                self._outbox.append(dead_letter(self._kafka, batch.tp, record, error))
                self._metrics.count("driftline_dead_letters_total", reason=error.reason)
                continue
            spec = self._models.get(parsed.model)
            if spec is None:
                continue
            monitor = self._watches.get(spec.name)
            if monitor is None:
                monitor = self._watches[spec.name] = ModelMonitor.begin(spec)
                self._learned.extend(monitor.learned())
                self._note_document(spec)
            if isinstance(parsed, Mark):
                self._ticking.add(parsed, record.timestamp / 1000.0, self._clock())
            before = {kind: (aligner.judged, aligner.late) for kind, aligner in monitor.aligners.items()}
            for finding in monitor.add(parsed):
                self._note(finding)
            for kind, aligner in monitor.aligners.items():
                judged, late = before[kind]
                if aligner.judged > judged:
                    self._metrics.count("driftline_windows_judged_total", aligner.judged - judged, model=spec.name, kind=kind)
                if aligner.late > late:
                    self._metrics.count("driftline_late_events_total", aligner.late - late, model=spec.name)

    def _note(self, finding: Finding) -> None:
        if isinstance(finding, Alert):
            self._outbox.append(_message(self._kafka, ALERTS, finding))
            self._metrics.count("driftline_alerts_total", model=finding.model, status=finding.status)
            if finding.status != "resolved":
                for verdict in finding.features:
                    self._metrics.count("driftline_verdicts_total", model=finding.model, statistic=verdict.statistic)
        elif isinstance(finding, Request):
            self._outbox.append(_message(self._kafka, RETRAINS, finding))
            self._metrics.count("driftline_retrain_requests_total", model=finding.model, reason=finding.reason)
        else:
            self._learned.append(finding)

    def _note_document(self, spec: ModelSpec) -> None:
        if spec.reference.reference_set is not None:
            self._documents.append(spec.reference.reference_set)

    def step_over(self, letter: Outgoing) -> None:
        """Send a record that cannot be fed to the dead letters instead."""
        self._outbox.append(letter)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return alerts and requests with the snapshot of this very moment."""
        self._expose()
        now = self._clock()
        ticks = [
            one
            for model, monitor in self._watches.items()
            for kind, aligner in monitor.aligners.items()
            for one in self._ticking.due(model, kind, aligner, now)
        ]
        due = final or self._outbox or now - self._saved_at >= max(_SNAPSHOT_SECONDS, _SNAPSHOT_PAUSE * self._took)
        if position == self._stored or not due:
            return Checkpoint(ticks, None) if ticks else None
        outgoing, self._outbox = self._outbox + ticks, []
        learned, self._learned = self._learned, []
        reference_sets, self._documents = self._documents, []
        payload = snapshot.dump(self._watches)
        self._saved_at = now
        self._metrics.gauge("driftline_snapshot_bytes", len(payload), partition=str(self._partition))

        async def store() -> None:
            await asyncio.to_thread(self._store.save_snapshot, self._name, self._stored, position, payload)
            self._stored = position
            # After the snapshot: a worker that lost the partition has been refused by then. Whoever begins publishes all again.
            for reference in learned:
                await asyncio.to_thread(self._references.publish, reference)
            for reference_set in reference_sets:
                await asyncio.to_thread(self._references.keep, reference_set)
            self._took = self._clock() - now

        return Checkpoint(outgoing, position, store)

    def watermarks(self) -> dict[tuple[str, Kind], float]:
        """Return (model, kind) -> event time up to which the model is judged, or has nothing to judge; epoch seconds."""
        return {
            (model, kind): _watermark(aligner)
            for model, monitor in self._watches.items()
            if model in self._models
            for kind, aligner in monitor.aligners.items()
            if aligner.until
        }

    def _expose(self) -> None:
        """Show what is open now; a gauge that is no longer true would be an alarm of its own."""
        for model, monitor in self._watches.items():
            incidents = monitor.open_incidents
            for level in ("drift", "performance"):
                count = sum(1 for incident in incidents if incident.level == level)
                self._metrics.gauge("driftline_incidents_open", count, model=model, level=level)
            self._metrics.gauge("driftline_reference_learning", float(monitor.learning), model=model)
            if model in self._models:
                self._metrics.gauge("driftline_budget_spent_ratio", monitor.spent(), model=model)
            drifted = {feature for incident in incidents for feature in incident.drifted}
            self._metrics.only("driftline_drifted_feature", "feature", drifted, model=model)
        for (model, kind), watermark in self.watermarks().items():
            shape = self._shapes[kind][model]
            furthest = max(self._watches[model].aligners[kind].until.values())
            if kind == "features":
                self._metrics.gauge("driftline_watermark_seconds", watermark, model=model)
            self._metrics.gauge("driftline_watermark_skew_seconds", furthest - watermark, model=model, kind=kind)
            self._metrics.gauge(
                "driftline_window_close_delay_seconds", shape.seconds + shape.lateness_seconds, model=model, kind=kind
            )


def _watermark(aligner: WindowAligner) -> float:
    """Return how far the slowest source has come; of one that never came, that all wait since the first part."""
    slowest = min(aligner.until.values())
    return slowest if len(aligner.until) >= aligner.sources or not aligner.parts else min(slowest, *aligner.parts)


def _message(kafka: KafkaSettings, topic: Topic, finding: Alert | Request) -> Outgoing:
    headers = (("content-type", b"application/cloudevents+json"),)
    return Outgoing(topic_name(kafka.prefix, topic), finding.model.encode(), event_of(finding), headers)
