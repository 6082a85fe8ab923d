"""Lag: how far a worker is behind the ends of its logs, and behind the clock.

Rules:
1. The broker is asked for the end of a log. The last fetch knows an end too, but an old one when a worker
   has stopped fetching.
2. A partition that is being rewound has no lanes. Its last known offsets count until it has lanes again,
   so lag and age go on growing while Redis is away.
3. A partition that another worker owns now is forgotten.
4. A broker that does not answer delays nothing: it is asked again only after it has answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from detectors.windows.record import Kind
from streams.engine.lanes import Lanes
from streams.metrics import Metrics

_LOOK_SECONDS = 2.0

#: Partitions (topic, number) -> offset after the last record of each.
Ends = Callable[[Iterable[Any]], Awaitable[Mapping[Any, int]]]


class Lag:
    """The gauges of lag and age, over the partitions that a worker owns."""

    def __init__(self, lanes: Lanes, metrics: Metrics, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives epoch seconds."""
        self._lanes = lanes
        self._metrics = metrics
        self._clock = clock
        # By partition: offset of a restart, offset not taken yet, (model, kind) -> event time judged.
        self._durable: dict[Any, int] = {}
        self._taken: dict[Any, int] = {}
        self._judged: dict[Any, dict[tuple[str, Kind], float]] = {}

    async def look_forever(self, assigned: Callable[[], Iterable[Any]], ends: Ends) -> None:
        """Look every two seconds; `assigned` gives the partitions owned now, `ends` asks the broker."""
        asking: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                self.look(assigned())
                if asking is None or asking.done():
                    if asking is not None and not asking.cancelled():
                        asking.exception()  # the broker was away, or the consumer between two assignments: asked again now
                    asking = asyncio.create_task(self.measure(ends))
        finally:
            if asking is not None:
                asking.cancel()

    def look(self, assigned: Iterable[Any]) -> None:
        """Note how far the lanes have come, and set the gauges that depend on the clock alone."""
        self._durable.update(self._lanes.restarts())
        self._taken.update(self._lanes.positions())
        self._judged.update({tp: stage.watermarks() for tp, stage in self._lanes.stages("judge")})
        owned = frozenset(assigned)
        for known in (self._durable, self._taken, self._judged):
            for tp in [tp for tp in known if tp not in owned]:
                del known[tp]
        now = self._clock()
        for watermarks in self._judged.values():
            for (model, kind), judged in watermarks.items():
                self._metrics.gauge("driftline_watermark_age_seconds", now - judged, model=model, kind=kind)

    async def measure(self, ends: Ends) -> None:
        """Set the gauges of the records between the ends of the logs and the lanes at the last look."""
        for tp, end in (await ends(list(self._taken))).items() if self._taken else ():
            if tp in self._taken:  # it may have gone while the broker was asked
                labels = {"topic": tp.topic, "partition": str(tp.partition)}
                self._metrics.gauge("driftline_lag_records", max(0, end - self._durable[tp]), **labels)
                self._metrics.gauge("driftline_unread_records", max(0, end - self._taken[tp]), **labels)
