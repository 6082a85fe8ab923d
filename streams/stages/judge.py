"""The judge stage: one partition of the windows topic -> alerts, retrain requests, references.

Rules:
1. State and outbox change in one step. A flush sends, awaits the acknowledgements, stores the
   snapshot, and only then lets the offset be committed.
2. The snapshot carries its offset and wins over Kafka's committed one, in both directions.
3. A snapshot is replaced by compare-and-set on its offset, the one loaded or stored last. So a worker
   that lost the partition cannot overwrite the state of its new owner.
4. The wall clock decides one thing only: when to write a tick (streams/stages/ticking.py). The tick is in the
   log, so what follows from it can be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self

from detectors.errors import EventError, SignatureError, StateError
from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.model.aligner import WindowAligner
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec, shapes_of
from detectors.windows.record import Kind, Mark, WindowShape
from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.transport import LogState
from streams.kafka import Log, Outgoing
from streams.kafka.batch import Batch
from streams.records import window_codec
from streams.records.cloudevents import event_of
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings
from streams.stages.ticking import Ticking
from streams.stages.wiring import Wiring
from streams.state import snapshot
from streams.state.store import Store
from streams.topics import ALERTS, RETRAINS, WINDOWS, Topic, topic_name

#: Least time between two snapshots, unless alerts wait for one or the partition is about to go.
_SNAPSHOT_SECONDS = 1.0
#: And at least so many times as long as the last one took: a large state must leave time for other work.
_SNAPSHOT_PAUSE = 5.0


async def load_state(
    store: Store, name: str, log: LogState, end_now: Callable[[], int] | None = None
) -> tuple[int | None, dict[str, ModelMonitor]]:
    """Return (offset, state) of a stored snapshot that fits the log, or (None, {}) when there is none.

    Args:
        store: Redis.
        name: of the snapshot.
        log: what the broker said of the partition.
        end_now: asks the broker again. While this worker was frozen, another one may have owned the partition and
            stored a snapshot beyond the end that `log` has.

    Raises:
        StateError: its offset is beyond the end of the log or before its beginning, it was altered, or another
            version wrote it.
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
    """The monitors of the models whose windows are in one partition."""

    def __init__(
        self,
        wiring: Wiring,
        *,
        partition: int,
        log: LogState,
        stored: int | None,
        monitors: dict[str, ModelMonitor],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on with `monitors`; `stored` is the offset of their snapshot, None without one."""
        self._kafka = wiring.kafka
        self._store = wiring.store
        self._references = wiring.references
        self._metrics = wiring.metrics
        self._models = models = wiring.models
        self._name = snapshot.name_of(partition)
        self._partition = partition
        self._monitors = monitors
        self._stored = stored
        self._learned: list[ReferenceLearned] = [one for monitor in monitors.values() for one in monitor.learned()]
        self._clock = clock
        self._saved_at = clock()
        self._took = 0.0
        self._shapes: dict[Kind, dict[str, WindowShape]] = {kind: shapes_of(models, kind) for kind in ("features", "outcomes")}
        self._ticking = Ticking(wiring.kafka, self._shapes)
        self.start = stored if stored is not None else log.first
        self.outbox = Outbox(self.start)
        self._reference_sets: list[ReferenceSet] = []
        for name, monitor in monitors.items():
            if name in models:
                for finding in monitor.reconfigure(models[name]):
                    self._note(finding)
                self._note_reference_set(models[name])

    @classmethod
    async def open(cls, wiring: Wiring, partition: int, log: LogState) -> Self:
        """Begin with the stored snapshot, or with nothing where the log begins.

        Raises:
            StateError: the snapshot does not fit the log, was altered, or another version wrote it.
            UnavailableError: Redis is away.
        """
        name = snapshot.name_of(partition)
        stored, monitors = await load_state(wiring.store, name, log, lambda: _end_of(wiring.kafka, partition))
        return cls(wiring, partition=partition, log=log, stored=stored, monitors=monitors)

    async def feed(self, batch: Batch, position: int) -> None:
        """Judge the records of a batch from `position` on."""
        for record in batch.records(position):
            try:
                parsed = window_codec.parse(record.value)
            except EventError as error:
                self.outbox.add(dead_letter(self._kafka, batch.tp, record, error))
                self._metrics.count("driftline_dead_letters_total", reason=error.reason)
                continue
            spec = self._models.get(parsed.model)
            if spec is None:
                continue
            monitor = self._monitors.get(spec.name)
            if monitor is None:
                monitor = self._monitors[spec.name] = ModelMonitor.begin(spec)
                self._learned.extend(monitor.learned())
                self._note_reference_set(spec)
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
            self.outbox.add(_message(self._kafka, ALERTS, finding))
            self._metrics.count("driftline_alerts_total", model=finding.model, status=finding.status)
            if finding.status != "resolved":
                for verdict in finding.features:
                    self._metrics.count("driftline_verdicts_total", model=finding.model, statistic=verdict.statistic)
        elif isinstance(finding, Request):
            self.outbox.add(_message(self._kafka, RETRAINS, finding))
            self._metrics.count("driftline_retrain_requests_total", model=finding.model, reason=finding.reason)
        else:
            self._learned.append(finding)

    def _note_reference_set(self, spec: ModelSpec) -> None:
        if spec.reference.reference_set is not None:
            self._reference_sets.append(spec.reference.reference_set)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return alerts and requests with the snapshot of this moment."""
        self._expose()
        now = self._clock()
        ticks = [
            one
            for model, monitor in self._monitors.items()
            for kind, aligner in monitor.aligners.items()
            for one in self._ticking.due(model, kind, aligner, now)
        ]
        due = final or len(self.outbox) or now - self._saved_at >= max(_SNAPSHOT_SECONDS, _SNAPSHOT_PAUSE * self._took)
        if position == self._stored or not due:
            return Checkpoint(ticks, None) if ticks else None
        outgoing = [*self.outbox.take(), *ticks]
        learned, self._learned = self._learned, []
        reference_sets, self._reference_sets = self._reference_sets, []
        payload = snapshot.dump(self._monitors)
        self._saved_at = now
        self._metrics.gauge("driftline_snapshot_bytes", len(payload), partition=str(self._partition))

        async def store() -> None:
            await asyncio.to_thread(self._store.save_snapshot, self._name, self._stored, position, payload)
            self._stored = position
            # After the snapshot: Redis refuses that of a worker which lost the partition. A worker that begins publishes all
            # references again.
            for reference in learned:
                await asyncio.to_thread(self._references.publish, reference)
            for reference_set in reference_sets:
                await asyncio.to_thread(self._references.keep, reference_set)
            self._took = self._clock() - now

        return Checkpoint(outgoing, position, store)

    def watermarks(self) -> dict[tuple[str, Kind], float]:
        """Return (model, kind) -> event time up to which everything is judged, epoch seconds."""
        return {
            (model, kind): _watermark(aligner)
            for model, monitor in self._monitors.items()
            if model in self._models
            for kind, aligner in monitor.aligners.items()
            if aligner.until
        }

    def _expose(self) -> None:
        """Set the gauges of open incidents; one that is no longer true would raise an alarm of its own."""
        for model, monitor in self._monitors.items():
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
            furthest = max(self._monitors[model].aligners[kind].until.values())
            if kind == "features":
                self._metrics.gauge("driftline_watermark_seconds", watermark, model=model)
            self._metrics.gauge("driftline_watermark_skew_seconds", furthest - watermark, model=model, kind=kind)
            self._metrics.gauge(
                "driftline_window_close_delay_seconds", shape.seconds + shape.lateness_seconds, model=model, kind=kind
            )


def _end_of(kafka: KafkaSettings, partition: int) -> int:
    """Return the offset after the last record of a partition of the windows topic, as the broker has it now."""
    reader = Log(kafka, "judge-end")
    try:
        return reader.ends(topic_name(kafka.prefix, WINDOWS))[partition][1]
    finally:
        reader.close()


def _watermark(aligner: WindowAligner) -> float:
    """Return how far the slowest source has come; a source that never came holds all others at the first part."""
    slowest = min(aligner.until.values())
    return slowest if len(aligner.until) >= aligner.sources or not aligner.parts else min(slowest, *aligner.parts)


def _message(kafka: KafkaSettings, topic: Topic, finding: Alert | Request) -> Outgoing:
    headers = (("content-type", b"application/cloudevents+json"),)
    return Outgoing(topic_name(kafka.prefix, topic), finding.model.encode(), event_of(finding), headers)
