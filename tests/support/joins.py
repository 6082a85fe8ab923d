"""The join stage with its log in memory: begun, fed, flushed and killed by a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

from detectors.spec import ModelSpec
from streams.engine.checkpoint import Checkpoint
from streams.engine.transport import LogState
from streams.events.event import Event
from streams.kafka import Outgoing, Record
from streams.metrics import Metrics
from streams.records.outcomes import Outcome, outcomes_of
from streams.settings import JoinSettings, KafkaSettings, OutcomesFormat, RedisSettings, Secret
from streams.stages.join import Join
from streams.stages.wiring import Wiring
from streams.state.store import Store
from tests.support.records import Fetched

#: The partition that these joins read.
PARTITION = 2


@dataclass
class Joins:
    """What outlives every join of one partition: its log, the outcomes topic, the committed offset."""

    models: Mapping[str, ModelSpec]
    store: Store = field(default_factory=lambda: Store(RedisSettings(url="redis://127.0.0.1:1"), Secret(b"asked for by nobody")))
    most_bytes: int = 512 << 20
    form: OutcomesFormat = "columns"
    metrics: Metrics = field(default_factory=Metrics)
    log: list[Record] = field(default_factory=list)
    topic: list[Outgoing] = field(default_factory=list)
    committed: int | None = None

    async def begin(self, *, first: int = 0, end: int = 1 << 40) -> Join:
        """Return a join that goes on with what there is."""
        wiring = Wiring.of(
            KafkaSettings(prefix="t"),
            self.models.values(),
            store=self.store,
            metrics=self.metrics,
            sources=4,
            join=JoinSettings(most_bytes=self.most_bytes),
            outcomes_format=self.form,
            join_records=lambda partition: list(self.log) if partition == PARTITION else [],
        )
        return await Join.open(wiring, PARTITION, LogState(self.committed, first, end))

    async def flush(self, checkpoint: Checkpoint | None, *, sent: int = 1 << 40, steps: int = 3) -> list[Outcome]:
        """Do what a flush does, or the first of its messages and steps alone; return the outcomes that were sent."""
        if checkpoint is None:
            return []
        outgoing = checkpoint.outgoing[:sent]
        self.topic += outgoing
        left = sent - len(checkpoint.outgoing)
        for message in checkpoint.state[: max(0, left)]:
            assert (message.topic, message.partition) == ("t.join", PARTITION)
            self.log.append(
                Record(message.topic, PARTITION, len(self.log), 0.0, message.key, message.value, tuple(message.headers or ()))
            )
        if left >= len(checkpoint.state):
            if checkpoint.complete is not None and steps > 1:
                await checkpoint.complete()
            if checkpoint.durable is not None and steps > 2:
                self.committed = max(self.committed or 0, checkpoint.durable)
        return [one for message in outgoing for one in outcomes_of(message.value)]

    def compact(self) -> None:
        """Leave the newest record of each key, and no deletions."""
        newest = {record.key: record for record in self.log}
        self.log = [record for record in self.log if newest[record.key] is record and record.value is not None]

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes topic as readers see it: repeats dropped by source, one model after the other."""
        newest: dict[str, int] = {}
        kept = []
        for message in self.topic:
            for one in outcomes_of(message.value):
                if one.source.offset > newest.get(one.model, -1):
                    newest[one.model] = one.source.offset
                    kept.append(one)
        return sorted(kept, key=lambda one: (one.model, one.source.offset))

    def counted(self, result: str, model: str = "m") -> float:
        """Return what became of so many records."""
        return self.metrics.registry.get_sample_value("driftline_outcomes_total", {"model": model, "result": result}) or 0.0


class _Entry(msgspec.Struct, array_like=True, gc=False):
    """One half as versions before 0.2 kept it."""

    offset: int
    event: Any = None


def put_pending(settings: RedisSettings, scope: str, items: Sequence[tuple[str, bytes]], seconds: int = 3600) -> None:
    """Let values wait in Redis as versions before 0.2 did; `scope` is `model:partition`, names are `p:id` and `l:id`."""
    with redis.Redis.from_url(settings.url) as client:
        for name, value in items:
            client.set(f"{settings.prefix}:pending:{scope}:{name}", value, nx=True, ex=seconds)


def pending(settings: RedisSettings) -> dict[str, bytes]:
    """Return what waits in Redis, by the rest of its name."""
    with redis.Redis.from_url(settings.url) as client:
        head = f"{settings.prefix}:pending:"
        names = sorted(client.scan_iter(f"{head}*"))
        return {name.decode().removeprefix(head): client.get(name) for name in names}  # type: ignore[misc]


def put_halves(settings: RedisSettings, partition: int, halves: Sequence[tuple[Fetched, Event | None]]) -> None:
    """Let halves of events wait in Redis as versions before 0.2 did; one whose event is None was joined before."""
    for record, event in halves:
        body = msgspec.json.decode(record.value or b"")
        half = "l" if body.get("type") == "label" or "label" in body else "p"
        known = None if event is None else {name: getattr(event, name) for name in _OLD_FIELDS}
        value = msgspec.msgpack.encode(_Entry(record.offset, known))
        put_pending(settings, f"{body['model']}:{partition}", [(f"{half}:{body['id']}", value)])


#: Fields of an event in those versions.
_OLD_FIELDS = ("kind", "offset", "model", "ts", "id", "segment", "features", "label", "score", "model_version")
