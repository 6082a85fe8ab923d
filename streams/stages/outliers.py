"""The outlier stage: events of one partition against the references in force -> outlier events.

Rules:
1. References come from Redis. The stage looks for new ones every few seconds, at most `_LOOKUPS` at a time,
   because senders decide how many segments their events name.
2. Events that come before a reference are not scored. Nor are events whose reference in Redis was altered.
3. No alert depends on this stage: the judge takes the outlier rate from the windows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from detectors.errors import StateError
from detectors.model.finding import ReferenceLearned
from detectors.outlier import Outliers, outside_of
from detectors.windows.block import Block
from detectors.windows.row import Row
from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.start_offsets import resumed
from streams.engine.transport import LogState
from streams.events.decoding import decoded
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.patience import LogLimit
from streams.records import cloudevents
from streams.stages.wiring import Wiring
from streams.topics import OUTLIERS, topic_name

_LOG = logging.getLogger("driftline.worker")

_REFRESH_SECONDS = 2.0
_LOOKUPS = 200

Key = tuple[str, str]


class OutlierStage:
    """Outliers of one partition of events."""

    def __init__(self, wiring: Wiring, *, partition: int, start: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic_name(wiring.kafka.prefix, OUTLIERS)
        self._references = wiring.references
        self._metrics = wiring.metrics
        self._decoding = wiring.decoding
        self._found = {
            name: Outliers(
                partition=partition,
                window_seconds=spec.window_seconds,
                beyond=spec.outliers.distance,
                per_window=spec.outliers.per_window,
            )
            for name, spec in wiring.models.items()
            if spec.outliers.enabled
        }
        #: (model, segment) -> version and reference; and when it was looked for last.
        self._known: dict[Key, tuple[str, ReferenceLearned]] = {}
        self._looked: dict[Key, float] = {}
        self._clock = clock
        self._log_limit = LogLimit(clock=clock)
        self.start = start
        self.outbox = Outbox(-1)

    @classmethod
    async def open(cls, wiring: Wiring, partition: int, log: LogState) -> Self:
        """Begin at the committed offset."""
        return cls(wiring, partition=partition, start=resumed(log))

    async def feed(self, batch: Batch, position: int) -> None:
        """Score the events of a batch from `position` on."""
        whole = decoded(batch, self._decoding).blocks
        blocks = [block for one in whole if one.model in self._found and (block := one.since(position)) is not None]
        await self._refresh({(block.model, segment) for block in blocks for segment in set(block.segments or ("",))})
        for block in blocks:
            for row, version, reference in self._far_rows(block):
                is_outlier, outlier = self._found[block.model].find(row, version, reference.features)
                if is_outlier:
                    self._metrics.count("driftline_outliers_total", model=block.model)
                if outlier is not None:
                    value = cloudevents.encode(
                        cloudevents.OUTLIER, outlier.id, outlier.model, outlier.ts, msgspec.to_builtins(outlier)
                    )
                    self.outbox.add(Outgoing(self._topic, block.model.encode(), value))

    def _far_rows(self, block: Block) -> Iterator[tuple[Row, str, ReferenceLearned]]:
        """Yield the rows with a value outside their reference, in the order of the log, each with its reference."""
        if not any(model == block.model for model, _ in self._known):
            return
        found: list[tuple[int, str, ReferenceLearned]] = []
        for segment, places in block.by_segment().items():
            known = self._known.get((block.model, segment))
            if known is not None:
                version, reference = known
                found.extend((place, version, reference) for place in outside_of(block, places, reference.features))
        for place, version, reference in sorted(found, key=lambda item: item[0]):
            yield block.row(place), version, reference

    async def _refresh(self, wanted: set[Key]) -> None:
        now = self._clock()
        fresh = {key: at for key, at in self._looked.items() if now - at < _REFRESH_SECONDS}
        # Known references come first: a flood of new segments must not keep them from being renewed.
        due = sorted(wanted - fresh.keys(), key=lambda key: (key not in self._known, key))[:_LOOKUPS]
        self._looked = fresh | dict.fromkeys(due, now)
        if due:
            self._known.update(await asyncio.to_thread(self._look_up, due))

    def _look_up(self, keys: list[Key]) -> dict[Key, tuple[str, ReferenceLearned]]:
        """Return the references that Redis has and this stage does not."""
        found: dict[Key, tuple[str, ReferenceLearned]] = {}
        for model, segment in keys:
            known = self._known.get((model, segment))
            try:
                current = self._references.current(model, segment, known[0] if known else None)
            except StateError as error:
                if self._log_limit.due():
                    _LOG.error("outliers of %s are not scored: %s", model, error)
                continue
            if current is not None:
                found[model, segment] = current
        return found

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return the outlier events since the last checkpoint."""
        return self.outbox.checkpoint(position)
