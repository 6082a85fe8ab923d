"""The outlier stage: events of one partition against the references in force -> outlier events.

References come from Redis and are looked for again every few seconds. Events that pass before a
reference is there are not scored; the outlier rate that alerts rest on is taken from the windows by
the judge, so no alert depends on this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec

from detectors.outlier import Outliers
from detectors.spec import ModelSpec
from detectors.watch import ReferenceLearned
from streams import cloudevents
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.references import References
from streams.settings import KafkaSettings
from streams.stage import Cut
from streams.summarise import decoded, row_of_event
from streams.topics import OUTLIERS, topic_name
from streams.transport import Batch

_REFRESH_SECONDS = 2.0


class Scoring:
    """Outliers of one partition of events."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        references: References,
        metrics: Metrics,
        models: Mapping[str, ModelSpec],
        partition: int,
        start: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic_name(kafka.prefix, OUTLIERS)
        self._references = references
        self._metrics = metrics
        self._models = models
        self._outbox: list[Outgoing] = []
        self._found = {
            name: Outliers(
                partition=partition,
                window_seconds=spec.window_seconds,
                beyond=spec.outliers.beyond,
                per_window=spec.outliers.per_window,
            )
            for name, spec in models.items()
            if spec.outliers.enabled
        }
        self._known: dict[tuple[str, str], tuple[str, ReferenceLearned]] = {}
        self._looked: dict[tuple[str, str], float] = {}
        self._clock = clock
        self._reported = -1
        self.start = start

    @property
    def outbox_size(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outbox)

    def step_over(self, offset: int, letter: Outgoing) -> None:
        """Nothing to do: the summarise stage of the same partition writes the dead letter."""

    async def feed(self, batch: Batch, position: int) -> None:
        """Score the events of a batch from `position` on."""
        events = [
            event
            for event in decoded(batch, self._models)[0]
            if event.offset >= position and event.kind in ("prediction", "features") and event.model in self._found
        ]
        await self._refresh({(event.model, event.segment) for event in events})
        for event in events:
            known = self._known.get((event.model, event.segment))
            if known is None:
                continue
            version, reference = known
            is_outlier, outlier = self._found[event.model].find(row_of_event(event), version, reference.features)
            if is_outlier:
                self._metrics.count("driftline_outliers_total", model=event.model)
            if outlier is not None:
                value = cloudevents.encode(
                    cloudevents.OUTLIER, outlier.id, outlier.model, outlier.ts, msgspec.to_builtins(outlier)
                )
                self._outbox.append(Outgoing(self._topic, event.model.encode(), value))

    async def _refresh(self, wanted: set[tuple[str, str]]) -> None:
        now = self._clock()
        for key in wanted:
            if now - self._looked.get(key, float("-inf")) < _REFRESH_SECONDS:
                continue
            self._looked[key] = now
            known = self._known.get(key)
            found = await asyncio.to_thread(self._references.current, *key, known[0] if known else None)
            if found is not None:
                self._known[key] = found

    def cut(self, position: int, *, final: bool) -> Cut | None:  # noqa: ARG002 - nothing is stored
        """Return the outlier events found since the last cut."""
        if not self._outbox and position == self._reported:
            return None
        outgoing, self._outbox = self._outbox, []
        self._reported = position
        return Cut(outgoing, position)
