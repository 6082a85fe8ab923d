"""Lanes: every record reaches every stage, a bad one stops nothing, and what may be committed is durable everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from detectors.errors import UnavailableError
from streams.engine.checkpoint import Checkpoint
from streams.engine.lanes import Lanes, StageMaker
from streams.engine.outbox import Outbox
from streams.engine.transport import LogState, Reach
from streams.kafka import Log, Outgoing, Sender
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.records.dead_letters import DETAIL, REASON, SOURCE
from streams.settings import KafkaSettings
from streams.topics import ALERTS, DEAD, topic_name
from tests.support.records import Fetched, batch_of, log_of

HERE, THERE = TP("t.events", 0), TP("t.events", 1)
NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1", prefix="t")


class Redis:
    """What a ledger stores: offset and entries, and the order in which things happened."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, TP], tuple[int, list[bytes]]] = {}
        self.happened: list[str] = []
        self.away = 0


class NotedOutbox(Outbox):
    """An outbox that keeps a copy of each message added by itself, as its lane adds dead letters."""

    __slots__ = ("letters",)

    def __init__(self, durable: int) -> None:
        super().__init__(durable)
        self.letters: list[Outgoing] = []

    def add(self, message: Outgoing) -> None:
        """Add and note a message."""
        self.letters.append(message)
        super().add(message)


class Ledger:
    """A stage that writes down what it is fed; its state is stored like the judge's."""

    def __init__(self, agent: str, tp: TP, redis: Redis, start: int, topic: str | None) -> None:
        self._name = (agent, tp)
        self._redis = redis
        self.start, entries = redis.kept.get(self._name, (start, []))
        self.entries = list(entries)
        self.outbox = NotedOutbox(self.start)
        self.failing: dict[bytes, list[Exception]] = {}
        self._topic = topic
        self._stored = self.start

    async def feed(self, batch: Batch, position: int) -> None:
        """Write down the values, unless one of them is to fail."""
        records = list(batch.records(position))
        for record in records:
            if self._name[0] == "a" and record.value.startswith(b"poison"):
                raise ValueError(record.value.decode())
            if self.failing.get(record.value):
                raise self.failing[record.value].pop()
        self.entries += [record.value for record in records]
        if self._topic is not None:
            self.outbox.extend(Outgoing(self._topic, None, record.value) for record in records)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return the outbox, and entries to store."""
        if position == self._stored:
            return None
        if self._redis.away == -1:
            raise KeyError("a cut that fails")
        outgoing = self.outbox.take()
        entries = list(self.entries)

        async def store() -> None:
            if self._redis.away > 0:
                self._redis.away -= 1
                raise UnavailableError("no Redis")
            self._redis.kept[self._name] = (position, entries)
            self._redis.happened.append(f"stored {position}{' at the end' if final else ''}")
            self._stored = position

        return Checkpoint(outgoing, position, store)


class FetchesInMemory:
    """The consumer's part: fetches of a log in memory, with epochs; a rewind restores the lanes and goes back."""

    def __init__(self, lanes: Lanes, logs: dict[TP, list[Fetched]], agents: Sequence[str], size: int = 3) -> None:
        self.lanes = lanes
        self.logs = logs
        self.agents = agents
        self.size = size
        self.epoch = 0
        self.places: dict[TP, tuple[int, int]] = {}
        self.committed: dict[TP, int] = {}
        self.rewound: list[TP] = []
        self.batches = 0
        self.reached: dict[TP, Reach] = {}
        #: (partition, number) of batches that do not arrive.
        self.drops: set[tuple[TP, int]] = set()
        lanes.attach(self)

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Begin the next epoch of the partitions."""
        for tp in tps:
            self.epoch += 1
            self.rewound.append(tp)
            log = LogState(self.committed.get(tp), 0, len(self.logs[tp]))
            positions = await self.lanes.restore(self.epoch, {tp: log})
            self.places[tp] = (self.epoch, positions[tp])
            self.reached.pop(tp, None)

    def reach(self) -> dict[TP, Reach]:
        """Return how far each partition was fetched."""
        return self.reached

    async def fetch(self) -> None:
        """Hand out the next batch of each partition to each agent."""
        for tp, (epoch, position) in list(self.places.items()):
            records = self.logs[tp][position : position + self.size]
            if records:
                self.places[tp] = (epoch, records[-1].offset + 1)
                self.batches += 1
                self.reached[tp] = Reach(epoch, records[-1].offset + 1, self.batches, time.monotonic())
                batch = batch_of(records, epoch=epoch, start=position)
                batch.number = self.batches
                if (tp, self.batches) not in self.drops:
                    await asyncio.gather(*(self.lanes.add(agent, batch) for agent in self.agents))

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Fetch, flush and commit until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            await self.fetch()
            await self.lanes.flush(5.0)
            for tp in self.logs:
                durable = self.lanes.durable(tp)
                if durable is not None:
                    assert durable >= self.committed.get(tp, 0)
                    self.committed[tp] = durable
            await asyncio.sleep(0.01)

    def at_the_end(self) -> bool:
        """Tell whether everything may be committed."""
        return all(self.committed.get(tp) == len(log) for tp, log in self.logs.items())


class LanesWorld:
    """Lanes over ledgers, one a partition and agent, read from logs in memory."""

    def __init__(self, sender: Sender, kafka: KafkaSettings, agents: Sequence[str], topic: str | None = None) -> None:
        self.redis = Redis()
        self.metrics = Metrics()
        self.made: list[tuple[str, TP, Ledger]] = []
        self.unavailable = 0
        self.topic = topic
        self.failing: dict[bytes, list[Exception]] = {}
        self.lanes = Lanes(kafka, sender, self.metrics, {"t.events": {agent: self._maker(agent) for agent in agents}})

    def _maker(self, agent: str) -> StageMaker:
        async def make(tp: TP, log: LogState) -> Ledger:
            if self.unavailable:
                self.unavailable -= 1
                raise UnavailableError("no Redis")
            ledger = Ledger(agent, tp, self.redis, log.committed or log.first, self.topic)
            ledger.failing = self.failing
            self.made.append((agent, tp, ledger))
            return ledger

        return make

    def ledger(self, agent: str = "a", tp: TP = HERE) -> Ledger:
        """Return the newest ledger of an agent's partition."""
        return next(ledger for name, of, ledger in reversed(self.made) if (name, of) == (agent, tp))

    def count(self, name: str, **labels: str) -> float:
        """Return the value of a counter."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that has nothing to send."""
    made = Sender(NOWHERE, "test")
    yield made
    made.close(0.0)


def values(*texts: str) -> list[bytes]:
    """Return the texts as bytes."""
    return [text.encode() for text in texts]


async def begin(world: LanesWorld, logs: dict[TP, list[bytes]], agents: Sequence[str] = ("a",), size: int = 3) -> FetchesInMemory:
    """Return a reading whose partitions have been assigned."""
    held = {tp: log_of(log, topic=tp.topic, partition=tp.partition) for tp, log in logs.items()}
    reading = FetchesInMemory(world.lanes, held, agents, size)
    await reading.rewind(held)
    reading.rewound.clear()
    return reading


async def test_every_record_reaches_every_stage_once(sender: Sender) -> None:
    """Two agents on two partitions read everything in order, and then all of it may be committed."""
    world = LanesWorld(sender, NOWHERE, "ab")
    logs = {HERE: [b"%d" % number for number in range(20)], THERE: [b"x", b"y"]}
    reading = await begin(world, logs, "ab")
    await reading.until(reading.at_the_end)
    for agent in "ab":
        for tp, log in logs.items():
            assert world.ledger(agent, tp).entries == log
    assert reading.rewound == []
    assert world.lanes.positions() == {HERE: 20, THERE: 2}
    assert [tp for tp, _ in world.lanes.stages("a")] == [HERE, THERE]
    assert list(world.lanes.stages("c")) == []


async def test_a_batch_that_never_came_is_read_again_once_a_later_one_has(sender: Sender) -> None:
    """The end of a log that is lost on its way leaves no hole, and is missed all the same."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1"), THERE: values("x")})
    reading.drops = {(HERE, 1)}
    await reading.fetch()
    assert world.ledger().entries == []
    assert world.ledger(tp=THERE).entries == values("x")
    world.lanes.find_lost()
    await reading.until(reading.at_the_end)
    assert world.ledger().entries == values("0", "1")
    assert reading.rewound == [HERE]


async def test_a_batch_that_never_came_is_read_again_when_nothing_else_comes(sender: Sender) -> None:
    """Nobody waits for ever for the last batch, though none follows it."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1")})
    reading.drops = {(HERE, 1)}
    flushing = asyncio.create_task(world.lanes.flush_forever(0.01))
    await reading.until(reading.at_the_end)
    flushing.cancel()
    assert world.ledger().entries == values("0", "1")
    assert reading.rewound == [HERE]


async def test_what_has_come_is_not_looked_for(sender: Sender) -> None:
    """A partition that was read to its end, or is on its way, is left alone."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1"), THERE: values("x")})
    reading.drops = {(THERE, 2)}
    await reading.fetch()
    world.lanes.find_lost()
    assert reading.rewound == []


async def test_a_record_that_always_fails_goes_to_the_dead_letters(kafka_settings: KafkaSettings) -> None:
    """After three strikes a poisonous record is on the dead-letter topic with its place, and all others reached every stage."""
    dead = topic_name(kafka_settings.prefix, DEAD)
    sender = Sender(kafka_settings, "test")
    world = LanesWorld(sender, kafka_settings, "ab")
    logs = {HERE: values("0", "1", "poison-2", "3", "4", "5"), THERE: values("x", "y")}
    reading = await begin(world, logs, "ab", size=4)
    await reading.until(reading.at_the_end, 60)
    sender.close()
    assert world.ledger("a").entries == values("0", "1", "3", "4", "5")
    assert world.ledger("b").entries == values("0", "1", "poison-2", "3", "4", "5")
    assert world.ledger("a", THERE).entries == values("x", "y")
    assert THERE not in reading.rewound
    log = Log(kafka_settings, "test")
    found = list(log.read(dead, {0: 0}))
    log.close()
    assert [record.value for record in found] == values("poison-2")
    headers = dict(found[0].headers)
    assert (headers[SOURCE], headers[REASON]) == (b"t.events/0/2", b"failed")
    assert headers[DETAIL] == b"agent a failed 3 times at this record"
    assert world.count("driftline_dead_letters_total", reason="failed") >= 1


async def test_what_fails_once_is_read_again(sender: Sender) -> None:
    """Any exception of a stage is the way back to its durable offset; nothing is lost, doubled or dead-lettered."""
    world = LanesWorld(sender, NOWHERE, "a")
    log = [b"%d" % number for number in range(12)]
    world.failing = {b"4": [KeyError("once")], b"10": [UnavailableError("away"), RuntimeError("twice")]}
    reading = await begin(world, {HERE: log}, size=2)
    await reading.until(reading.at_the_end)
    assert world.ledger().entries == log
    assert not any(ledger.outbox.letters for _, _, ledger in world.made)
    assert len(reading.rewound) == 3
    assert world.count("driftline_rewinds_total", agent="a") == 3


async def test_a_service_that_is_away_strikes_no_record(sender: Sender) -> None:
    """However often a record meets a service that is away, it is never taken for the culprit."""
    world = LanesWorld(sender, NOWHERE, "a")
    world.failing = {b"1": [UnavailableError("away")] * 3}
    reading = await begin(world, {HERE: values("0", "1", "2")}, size=1)
    await reading.until(reading.at_the_end)
    assert world.ledger().entries == values("0", "1", "2")
    assert world.count("driftline_dead_letters_total", reason="failed") == 0


async def test_batches_of_another_epoch_are_ignored(sender: Sender) -> None:
    """What was fetched before the last move of the position changes nothing, nor does a batch of a partition that is gone."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1", "2")})
    batch = batch_of(reading.logs[HERE], epoch=reading.epoch - 1)
    await world.lanes.add("a", batch)
    await world.lanes.add("a", batch_of(reading.logs[HERE], epoch=reading.epoch + 1))
    await world.lanes.add("nobody", batch_of(reading.logs[HERE], epoch=reading.epoch))
    await world.lanes.add("a", batch_of(log_of(["x"], partition=9), epoch=reading.epoch))
    assert world.ledger().entries == []
    await world.lanes.add("a", batch_of(reading.logs[HERE], epoch=reading.epoch))
    await world.lanes.add("a", batch_of(reading.logs[HERE], epoch=reading.epoch))
    assert world.ledger().entries == values("0", "1", "2")


async def test_a_hole_is_read_again(sender: Sender) -> None:
    """A batch that begins beyond the position means that one was lost: the partition is read from its durable offset."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: [b"%d" % number for number in range(9)]})
    await reading.fetch()
    epoch, position = reading.places[HERE]
    reading.places[HERE] = (epoch, position + 3)
    await reading.until(reading.at_the_end)
    assert reading.rewound == [HERE]
    assert world.ledger().entries == [b"%d" % number for number in range(9)]


async def test_a_gap_in_the_log_is_no_hole(sender: Sender) -> None:
    """A fetch from the position whose first record comes later (compacted, aborted) is taken as it is."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1")})
    await reading.fetch()
    await world.lanes.add("a", batch_of(log_of(values("9"), first=9), epoch=reading.epoch, start=2))
    assert world.ledger().entries == values("0", "1", "9")
    assert world.lanes.positions() == {HERE: 10}
    assert reading.rewound == []


async def test_only_what_is_durable_in_every_lane_may_be_committed(sender: Sender) -> None:
    """The least durable offset of a partition's lanes counts, and none until each has one."""
    world = LanesWorld(sender, NOWHERE, "ab")
    reading = await begin(world, {HERE: values("0", "1", "2", "3")}, "ab")
    records = reading.logs[HERE]
    assert world.lanes.durable(HERE) is None
    await world.lanes.add("a", batch_of(records, epoch=1))
    await world.lanes.flush(5.0)
    assert world.lanes.durable(HERE) is None
    await world.lanes.add("b", batch_of(records[:1], epoch=1))
    await world.lanes.flush(5.0)
    assert world.lanes.durable(HERE) == 1
    assert world.lanes.positions() == {HERE: 1}
    assert world.lanes.durable(THERE) is None


async def test_state_is_stored_after_the_acknowledgements(kafka_settings: KafkaSettings) -> None:
    """When a state is stored, every message before it is on the broker already; the durable offset comes last."""
    topic = topic_name(kafka_settings.prefix, ALERTS)
    sender, log = Sender(kafka_settings, "test"), Log(kafka_settings, "test")
    world = LanesWorld(sender, kafka_settings, "a", topic)
    reading = await begin(world, {HERE: values("0", "1", "2", "3")}, size=2)
    seen: list[tuple[int, int, int | None]] = []
    ledger = world.ledger()
    cut_of = ledger.checkpoint

    def checkpoint(position: int, *, final: bool) -> Checkpoint | None:
        made = cut_of(position, final=final)
        if made is None or made.complete is None:
            return made
        keep: Callable[[], Awaitable[None]] = made.complete

        async def store() -> None:
            end = (await asyncio.to_thread(log.ends, topic))[0][1]
            seen.append((position, end, world.lanes.durable(HERE)))
            await keep()

        return Checkpoint(made.outgoing, made.durable, store)

    ledger.checkpoint = checkpoint  # type: ignore[method-assign] # looks on, and changes nothing
    await reading.until(reading.at_the_end)
    sender.close()
    log.close()
    assert seen == [(2, 2, None), (4, 4, 2)]


async def test_what_could_not_be_stored_is_read_again(sender: Sender) -> None:
    """A flush that fails moves no offset; the lane goes back to what is stored, and comes to the same end."""
    world = LanesWorld(sender, NOWHERE, "a")
    world.redis.away = 2
    log = [b"%d" % number for number in range(6)]
    reading = await begin(world, {HERE: log})
    await reading.until(reading.at_the_end)
    assert len(reading.rewound) == 2
    assert world.ledger().entries == log
    assert world.redis.kept["a", HERE] == (6, log)


async def test_a_state_that_cannot_be_cut_is_read_again(sender: Sender) -> None:
    """A stage whose cut raises is rewound like one whose feeding does, and not left behind in silence."""
    world = LanesWorld(sender, NOWHERE, "a")
    world.redis.away = -1
    reading = await begin(world, {HERE: values("0", "1", "2")})
    await reading.until(lambda: reading.rewound)
    world.redis.away = 0
    await reading.until(reading.at_the_end)
    assert world.ledger().entries == values("0", "1", "2")


async def test_a_stage_is_made_once_its_service_is_there(sender: Sender) -> None:
    """A partition waits for Redis instead of failing the assignment."""
    world = LanesWorld(sender, NOWHERE, "a")
    world.unavailable = 2
    reading = await begin(world, {HERE: values("0")})
    await reading.until(reading.at_the_end)
    assert world.ledger().entries == values("0")


async def test_a_partition_that_is_gone_is_forgotten(sender: Sender) -> None:
    """After a revocation nothing of the partition is fed, flushed, committed or shown, and the others go on."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1"), THERE: values("x", "y")})
    await reading.fetch()
    world.metrics.gauge("driftline_watermark_seconds", 5.0, model="m")
    world.lanes.revoke([HERE])
    await world.lanes.add("a", batch_of(reading.logs[HERE], epoch=reading.epoch))
    await world.lanes.flush(5.0)
    assert world.lanes.durable(HERE) is None
    assert world.lanes.positions() == {THERE: 2}
    assert list(world.redis.kept) == [("a", THERE)]
    assert world.metrics.registry.get_sample_value("driftline_watermark_seconds", {"model": "m"}) is None


async def test_a_final_flush_tells_the_stage_so(sender: Sender) -> None:
    """Before partitions go, what is in memory is stored now; the flushes before it may choose their time."""
    world = LanesWorld(sender, NOWHERE, "a")
    reading = await begin(world, {HERE: values("0", "1")})
    flushing = asyncio.create_task(world.lanes.flush_forever(0.01))
    await reading.fetch()
    await _eventually(lambda: world.redis.happened)
    flushing.cancel()
    assert world.redis.happened == ["stored 2"]
    reading.logs[HERE] += log_of(values("2"), first=2)
    await reading.fetch()
    await world.lanes.flush(5.0)
    assert world.redis.happened == ["stored 2", "stored 3 at the end"]


async def test_feeding_never_raises(sender: Sender) -> None:
    """Whatever a stage raises, the agent that feeds it sees nothing of it; and a lane without a rewinder only waits."""
    world = LanesWorld(sender, NOWHERE, "a")
    errors: list[Exception] = [ValueError("x"), RecursionError(), MemoryError(), OSError(5, "io"), UnavailableError("gone")]
    for error in errors:
        await world.lanes.restore(1, {HERE: LogState(None, 0, 1)})
        world.ledger().failing = {b"0": [error]}
        await world.lanes.add("a", batch_of(log_of(values("0")), epoch=1))
        assert world.ledger().entries == []
    await world.lanes.restore(1, {HERE: LogState(None, 0, 1)})
    await world.lanes.add("a", batch_of(log_of(values("0")), epoch=1))
    assert world.ledger().entries == values("0")


async def _eventually(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_a_trouble_after_progress_has_a_patience_of_its_own(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker gives up when nothing has become durable for long, not when the next trouble comes long after the last."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("streams.engine.lanes.time", SimpleNamespace(monotonic=lambda: clock.now))
    given_up: list[float] = []
    monkeypatch.setattr(Lanes, "_give_up", lambda _self, _error: given_up.append(clock.now))
    world = LanesWorld(sender, NOWHERE, ["a"])
    for now, start in ((0.0, 0), (200.0, 0), (400.0, 5), (600.0, 5), (701.0, 5)):
        clock.now = now
        world.redis.kept["a", HERE] = (start, [])
        await world.lanes.restore(1, {HERE: LogState(None, 0, 10)})
        world.lanes._rewind(world.lanes._lanes["a", HERE], "no Redis")
    world.lanes.revoke([HERE])
    assert given_up == [701.0]
