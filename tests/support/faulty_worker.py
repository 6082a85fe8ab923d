"""A worker in small for fault injection: the real lanes and stages on real Kafka and Redis, without Faust around them.

The consumer's part is played by `FaultyWorker`: it hands out batches, commits, rewinds, rebalances, and begins a
new life after a crash. Every run has Redis keys of its own, but all share the topics: a run sees what was
written since it began, with offsets from 0, so hundreds of runs need no topics of their own. So it is with the log of the
join, which the join stage reads when it begins.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from faust.types import TP

from detectors.errors import DriftlineError
from streams.engine.lanes import Lanes
from streams.engine.transport import LogState
from streams.kafka import Log, Record, Sender
from streams.kafka.message import record_of
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.store import Store
from streams.topics import ALERTS, DEAD, EVENTS, JOIN, OUTCOMES, RETRAINS, ROWS, WINDOWS, Topic, topic_name
from streams.worker.agents import stage_makers
from tests.support.fault_borders import FaultyProducer, faulty_makers
from tests.support.fault_log import SOURCES, events
from tests.support.fault_told import Told, told
from tests.support.faults import LIFE, Fault, Injector, Killed, Life
from tests.support.records import Fetched, batch_of

_READ = (OUTCOMES, JOIN, ROWS, WINDOWS, ALERTS, RETRAINS, DEAD)
#: Records of one batch, by the last part of the topic's name.
_FETCH = {"outcomes": 60, "windows": 60}
#: How long a flush may take that is to be broken off.
_SOON_SECONDS = 0.1
#: Far more cycles than any run needs.
_MOST_CYCLES = 400


class Broker:
    """The topics on the real broker, and what has been written to them since the last run began."""

    def __init__(self, settings: Settings, ahead: int = 0) -> None:
        """Write the events (tests/support/fault_log.py) once and read them back; every run is fed with them."""
        self.settings = settings
        self.prefix = settings.kafka.prefix
        self.sender = Sender(settings.kafka, "test")
        self.producer = FaultyProducer(self.sender._producer)
        self.sender._producer = self.producer  # type: ignore[assignment] # the same, with faults
        for message in events(self.prefix, ahead):
            assert self.sender.send(message)
        self.producer.flush(30.0)
        log = Log(settings.kafka, "test-events")
        self.events: dict[TP, list[Fetched]] = {TP(self._topic(EVENTS), source): [] for source in range(SOURCES)}
        for record in log.read(self._topic(EVENTS), dict.fromkeys(range(SOURCES), 0)):
            self.events[TP(record.topic, record.partition)].append(_fetched(record, 0))
        partitions = [TP(self._topic(topic), number) for topic in _READ for number in log.ends(self._topic(topic))]
        log.close()
        self._begin: dict[TP, int] = dict.fromkeys(partitions, 0)
        self.records: dict[TP, list[Record]] = {tp: [] for tp in partitions}
        self._consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": f"{self.prefix}.test"})
        self._consumer.assign([TopicPartition(tp.topic, tp.partition, 0) for tp in partitions])
        self._reading = threading.Lock()

    def _topic(self, topic: Topic) -> str:
        return topic_name(self.prefix, topic)

    def begin(self) -> None:
        """Begin the next run: what has been written until now is of no concern any more."""
        self.producer.forget()
        self.read()
        self._begin = {tp: first + len(self.records[tp]) for tp, first in self._begin.items()}
        self.records = {tp: [] for tp in self._begin}

    def read(self) -> bool:
        """Read everything that was acknowledged; tell whether there was anything new."""
        with self._reading:
            return self._read()

    def _read(self) -> bool:
        fresh = False
        while missing := sum(self.producer.ends.get(tp, 0) - first - len(self.records[tp]) for tp, first in self._begin.items()):
            for message in self._consumer.consume(missing, timeout=1.0):
                assert message.error() is None, message.error()
                record = record_of(message)
                self.records[TP(record.topic, record.partition)].append(record)
                fresh = True
        return fresh

    def logs(self) -> dict[TP, list[Fetched]]:
        """Return the partitions that the worker reads."""
        found = dict(self.events)
        for topic in (OUTCOMES, WINDOWS):
            for tp, first in self._begin.items():
                if tp.topic == self._topic(topic):
                    found[tp] = [_fetched(record, first) for record in self.records[tp]]
        return found

    def join_records(self, partition: int) -> list[Record]:
        """Return the log of the join, as a worker that begins now reads it."""
        self.read()
        return [record for record in self.told(JOIN) if record.partition == partition]

    def told(self, topic: Topic) -> list[Record]:
        """Return what the run wrote to a topic."""
        return [
            replace(record, offset=record.offset - self._begin[tp])
            for tp, records in self.records.items()
            if tp.topic == self._topic(topic)
            for record in records
        ]

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
        self.sender.close()


def _fetched(record: Record, first: int) -> Fetched:
    stamp = round(record.timestamp_seconds * 1000)
    return Fetched(record.value, record.offset - first, stamp, record.topic, record.partition, record.key)


class _GaveUp(BaseException):
    """The worker would have left hard."""


class MortalLanes(Lanes):
    """Lanes that do not end the test's process when they give up."""

    def _give_up(self, error: DriftlineError) -> None:
        raise _GaveUp(str(error))


@dataclass(frozen=True)
class ReadingOrder:
    """In what order the topics are read.

    Args:
        slow: a topic of which batches are handed out only when there are none of another.
        fetch: records in a batch of events.
    """

    slow: str = ""
    fetch: int = 130


class FaultyWorker:
    """One run over all events, with at most one fault."""

    def __init__(self, broker: Broker, store: Store, injector: Injector, lanes: type[Lanes], reading: ReadingOrder) -> None:
        self._slow = reading.slow
        self._fetch = {**_FETCH, "events": reading.fetch}
        self._broker = broker
        self._store = store
        self._injector = injector
        self._kind = lanes
        self._epoch = 0
        self._moving = asyncio.Lock()
        self._committed: dict[TP, int] = {}
        self._logs: dict[TP, list[Fetched]] = {}
        self._places: dict[TP, tuple[int, int]] = {}
        self.lives = 0
        self.rebalances = 0
        self._life: Life
        self._lanes: Lanes

    # -- the consumer's part -----------------------------------------------------------------------

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Load the state of partitions again and read on from where it stands."""
        async with self._moving:
            self._epoch += 1
            logs = {tp: LogState(self._committed.get(tp), 0, len(self._logs[tp])) for tp in tps}
            positions = await self._lanes.restore(self._epoch, logs)
            self._places.update({tp: (self._epoch, position) for tp, position in positions.items()})

    async def run(self) -> None:
        """Work until everything is read and durable."""
        self._broker.begin()
        await self._look()
        await self._begin_life()
        quiet = 0
        for cycle in range(_MOST_CYCLES):
            if self._life.dead:
                if self._injector.commits_at_death:  # the consumer's timer may have been as quick
                    for tp in self._logs:
                        self._take_durable(tp)
                await self._end_life()
                await self._begin_life()
            elif self._life.interrupted.is_set():
                await self._rebalance()
            before = [len(log) for log in self._logs.values()]
            await self._cycle(final=cycle % 2 == 0)
            await self._look()
            grown = before != [len(log) for log in self._logs.values()]
            quiet = 0 if grown or self._life.interrupted.is_set() or not self._at_the_end() else quiet + 1
            if quiet > 2:
                break
            if quiet == 0 and not grown:
                await asyncio.sleep(0.001)  # a rewind is on its way
        else:
            raise AssertionError(f"no end after {_MOST_CYCLES} cycles: {self._lanes.positions()}")
        await self._end_life()
        await self._look()

    async def _look(self) -> None:
        await asyncio.to_thread(self._broker.read)
        self._logs = self._broker.logs()

    def _at_the_end(self) -> bool:
        return self._lanes.positions() == {tp: len(log) for tp, log in self._logs.items()}

    async def _begin_life(self) -> None:
        """Begin as a process that knows only what Kafka and Redis know."""
        self.lives += 1
        self._life = Life(self._injector)
        self._places.clear()
        metrics = Metrics()
        settings = self._broker.settings
        made = stage_makers(
            settings,
            store=self._store,
            metrics=metrics,
            sinks=(),
            sources=SOURCES,
            join_records=self._broker.join_records,
        )
        makers = faulty_makers(made)
        self._lanes = self._kind(settings.kafka, self._broker.sender, metrics, makers)
        self._lanes.attach(self)
        self._moving = asyncio.Lock()
        await self._assign()

    async def _assign(self) -> None:
        tps = [tp for tp in self._logs if tp.topic.rpartition(".")[2] in self._fetch]
        assigning = self._life.spawn(self.rewind(tps))
        await self._settle([assigning])
        if assigning.done() and not assigning.cancelled() and isinstance(assigning.exception(), Exception):
            self._life.kill()  # an exception here ends Faust, and the process with it

    async def _rebalance(self) -> None:
        """Do what the transport does when partitions go and come again."""
        self.rebalances += 1
        self._life.interrupted.clear()
        await self._settle([self._life.spawn(self._lanes.flush(4.0))])
        self._commit()
        if not self._life.dead:
            self._lanes.revoke(list(self._logs))
            self._places.clear()
            await self._assign()

    async def _stop_unacknowledged(self, flushing: asyncio.Task[None]) -> None:
        """End this life while the broker takes no messages: the last flush is broken off, a commit still gets through."""
        await flushing
        flushes = [self._life.spawn(self._lanes._flush(lane, final=True)) for lane in list(self._lanes._lanes.values())]
        if flushes:  # the one that comes every now and then, before the partitions go
            await asyncio.wait(flushes, timeout=_SOON_SECONDS)
        self._commit()
        self._life.kill()

    async def _end_life(self) -> None:
        tasks = list(self._life.tasks)
        self._life.dead = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._broker.producer.forget)

    async def _cycle(self, *, final: bool) -> None:
        """Hand out the next batch of each partition, flush meanwhile, then commit."""
        tasks = []
        waiting = {tp.topic.rpartition(".")[2] for tp, (_, position) in self._places.items() if position < len(self._logs[tp])}
        for tp, (epoch, position) in list(self._places.items()):
            if tp.topic.endswith(f".{self._slow}") and waiting != {self._slow}:
                continue
            records = self._logs[tp][position : position + self._fetch[tp.topic.rpartition(".")[2]]]
            if records:
                self._places[tp] = (epoch, records[-1].offset + 1)
                batch = batch_of(records, epoch=epoch, start=position)
                tasks += [self._life.spawn(self._lanes.add(agent, batch)) for agent, of in self._lanes._lanes if of == tp]
        hasty = self._injector.fault is not None and self._injector.fault.kind == "held"
        flushing = self._life.spawn(self._lanes.flush(_SOON_SECONDS if hasty else 30.0)) if final or hasty else None
        if flushing is None:
            tasks += [self._life.spawn(self._lanes._flush(lane)) for lane in list(self._lanes._lanes.values())]
        else:
            tasks.append(flushing)
        await self._settle(tasks)
        if self._life.held and flushing is not None:
            await self._stop_unacknowledged(flushing)
        else:
            self._commit()

    async def _settle(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Wait for tasks, unless this life ends before or a rebalance is due."""
        interrupted = asyncio.create_task(self._life.interrupted.wait())
        left = set(tasks)
        while left and not interrupted.done():
            done, _ = await asyncio.wait({*left, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            left -= done
        interrupted.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                problem = task.exception()
                if problem is not None and not isinstance(problem, (Killed, RuntimeError)):
                    raise problem

    def _commit(self) -> None:
        """Commit what is durable, as the consumer does every second; each commit may fail."""
        token = LIFE.set(self._life)
        try:
            for tp in self._logs:
                if self._life.dead:
                    return
                kind = self._injector.reached("commit", tp.topic.rpartition(".")[2]) or ""
                if kind == "crash before":
                    self._life.kill()
                    return
                if kind != "lost":
                    self._take_durable(tp)
                if kind == "crash after":
                    self._life.kill()
        finally:
            LIFE.reset(token)

    def _take_durable(self, tp: TP) -> None:
        durable = self._lanes.durable(tp)
        if durable is not None:
            assert 0 <= durable <= len(self._logs[tp])
            self._committed[tp] = durable


@contextmanager
def own_store(settings: Settings, name: str) -> Iterator[Store]:
    """Keys of one run's own, removed afterwards."""
    store = Store(replace(settings.redis, prefix=f"{settings.redis.prefix}:{name}"), settings.signing_key)
    try:
        yield store
    finally:
        keys = list(store._redis.scan_iter(f"{store._settings.prefix}:*", count=5000))
        store._redis.delete(*keys)
        store._redis.close()


async def run(
    broker: Broker, name: str, fault: Fault | None = None, lanes: type[Lanes] = MortalLanes, reading: ReadingOrder | None = None
) -> tuple[Told, Injector]:
    """Return what a run with that fault left behind, and the points it passed."""
    injector = Injector(fault)
    with own_store(broker.settings, name) as store:
        await FaultyWorker(broker, store, injector, lanes, reading or ReadingOrder()).run()
        return told(broker, store), injector
