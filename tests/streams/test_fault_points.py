"""Fault points: whatever fails inside a worker, at whichever point, the same is told as by a run without faults.

Each test runs a worker (tests/support/faulty_worker.py) over one log many times, with one fault each. Every passing of a
site meets a fault, but for sites passed more than six times, where six spread over the run do; every site
meets every kind of fault, but for functions, which take turns. With DRIFTLINE_FAULTS=all every passing meets every
kind, which takes an hour and more.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.engine import lanes
from streams.engine.checkpoint import Checkpoint
from streams.engine.lanes import Lane
from streams.kafka import create_topics, delete_topics
from streams.patience import Backoff
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.stages import join, training_rows
from tests.support.fault_borders import faulty_functions, faulty_redis
from tests.support.fault_log import MODELS, SOURCES
from tests.support.fault_told import Told
from tests.support.faults import KINDS, Fault, Point, watch_tasks
from tests.support.faulty_worker import Broker, MortalLanes, ReadingOrder, run

#: Runs side by side: most of a run is waiting.
_AT_ONCE = 3
#: Passings of one site that meet a fault, unless all do.
_PASSINGS = 6
_ALL = os.environ.get("DRIFTLINE_FAULTS") == "all"

Seen = Counter[tuple[str, str]]
Say = Callable[[str], None]


@contextmanager
def opened(kafka_server: KafkaServer, redis_server: RedisServer, ahead: int = 0) -> Iterator[Broker]:
    """Give topics and keys of their own, with a log in which errors change `ahead` windows before features do."""
    prefix = f"faults-{uuid.uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=SOURCES)
    create_topics(kafka)
    redis = RedisSettings(url=redis_server.url, prefix=prefix)
    broker = Broker(Settings(kafka=kafka, redis=redis, signing_key=Secret(b"known to tests only"), models=MODELS), ahead)
    yield broker
    broker.close()
    delete_topics(kafka)


@pytest.fixture(scope="module")
def made(kafka_server: KafkaServer, redis_server: RedisServer) -> Iterator[list[Broker]]:
    """Topics and keys for runs side by side."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(kafka_server, redis_server)) for _ in range(_AT_ONCE)]


@pytest.fixture
async def brokers(made: list[Broker], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Broker]]:
    """Brokers, with everything in place for faults to happen."""
    # Rewinds are what is tested here, not how long they wait before.
    monkeypatch.setattr(lanes, "_PAUSES", Backoff(0.005, 5.0))
    # In a log so short there would be few chunks, and rows only at the end.
    monkeypatch.setattr(join, "_CHUNK_RECORDS", 60)
    monkeypatch.setattr(training_rows, "_MANY", 60)
    loop = asyncio.get_running_loop()
    watch_tasks(loop)
    loop.set_exception_handler(lambda *_: None)  # tasks that died with their worker have nobody to tell
    loop.set_default_executor(ThreadPoolExecutor(32))  # a broker that takes nothing holds threads of several runs
    with faulty_redis():
        await run(made[0], "first")  # loads the scripts into Redis, which no later run has to
        yield made
    loop.set_task_factory(None)


def plan(seen: Seen, borders: set[str], passings: int) -> Iterator[Fault]:
    """Yield faults for the points of a run without faults: kinds take turns, passings are spread evenly."""
    for (border, site), count in sorted(seen.items()):
        if border not in borders:
            continue
        kinds = KINDS[border]
        if _ALL:
            yield from (Fault(Point(border, site, number), kind) for number in range(count) for kind in kinds)
            continue
        runs = max(min(count, passings), len(kinds))
        for number in range(runs):
            passing = number * count // runs
            yield Fault(Point(border, site, passing), kinds[number % len(kinds)])


async def inexact(
    brokers: list[Broker], faults: list[Fault], reference: Told, kind: type[lanes.Lanes] = MortalLanes
) -> tuple[dict[str, str], int]:
    """Run with each fault; return fault -> what was not as in the reference, and how many faults happened.

    On a machine that is shared a run may pass a site less often than the reference did: then the fault comes earlier.
    """
    waiting = list(reversed(faults))
    wrong: dict[str, str] = {}
    happened = 0

    async def work(broker: Broker) -> None:
        nonlocal happened
        while waiting:
            fault = waiting.pop()
            try:
                told, injector = await run(broker, f"run{len(waiting)}", fault, kind)
            except AssertionError as error:
                wrong[str(fault)] = str(error)[:300]
                happened += 1
                continue
            happened += injector.fired
            if not injector.fired and (early := fault.point.occurrence // 2) < fault.point.occurrence:
                waiting.append(replace(fault, point=replace(fault.point, occurrence=early)))
            if differences := told.differences(reference):
                wrong[str(fault)] = "; ".join(differences)[:300]

    await asyncio.gather(*(work(broker) for broker in brokers))
    return wrong, happened


async def check(brokers: list[Broker], borders: set[str], least: int, say: Say) -> None:
    """Check the points of some borders, and that there were as many as there must be at least."""
    reference, injector = await run(brokers[0], "reference")
    assert len(reference.alerts) > 1
    assert reference.retrains
    assert reference.dead
    assert reference.references
    points = {site: count for site, count in injector.seen.items() if site[0] in borders}
    assert {border for border, _ in points} == borders, "a border without points: nothing was checked there"
    assert sum(points.values()) >= least
    faults = list(plan(injector.seen, borders, _PASSINGS))
    wrong, happened = await inexact(brokers, faults, reference)
    say(f"{len(points)} sites with {sum(points.values())} points, {happened} faults in {len(faults)} runs, {len(wrong)} inexact")
    assert wrong == {}
    # Threads make the number of passings differ a little from run to run.
    assert happened > 0.9 * len(faults)


async def test_without_faults_the_order_of_work_changes_nothing(brokers: list[Broker]) -> None:
    """Whichever topic is read last, a run without faults tells the same."""
    reference, _ = await run(brokers[0], "reference")
    for slow in ("events", "outcomes", "windows"):
        told, _ = await run(brokers[1], slow, reading=ReadingOrder(slow=slow))
        assert told.differences(reference) == []


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.usefixtures("brokers")
async def test_small_batches_tell_the_same_as_large_ones(
    kafka_server: KafkaServer, redis_server: RedisServer, ahead: int
) -> None:
    """A worker that keeps up, so that windows of errors come between those of features, tells the same as one that catches up."""
    with opened(kafka_server, redis_server, ahead) as broker:
        reference, _ = await run(broker, "reference", reading=ReadingOrder(fetch=1000))
        told, _ = await run(broker, "small", reading=ReadingOrder(fetch=10))
    assert told.windows == reference.windows
    assert told.alerts == reference.alerts
    assert told.retrains == reference.retrains


async def test_any_wait_may_fail(brokers: list[Broker], say: Say) -> None:
    """An exception, a cancellation or a crash at any await, before or after what was awaited, changes nothing that is told."""
    await check(brokers, {"await", "idle"}, 30, say)


async def test_any_command_to_redis_may_fail(brokers: list[Broker], say: Say) -> None:
    """A command that never arrived, or did and was not answered, refusals and crashes change nothing that is told."""
    await check(brokers, {"redis", "redis transaction"}, 20, say)


async def test_any_message_may_fail(brokers: list[Broker], say: Say) -> None:
    """A message that cannot be queued, is not acknowledged in time, or is and nobody learns of it, changes nothing."""
    await check(brokers, {"produce", "acknowledgements"}, 200, say)


async def test_any_stage_and_any_commit_may_fail(brokers: list[Broker], say: Say) -> None:
    """A stage that raises before or after its state changed, and a commit that is lost or the last thing done, change nothing."""
    await check(brokers, {"stage", "commit"}, 100, say)


async def test_any_function_may_fail(brokers: list[Broker], say: Say) -> None:
    """A stage that raises in the middle of changing its state, in whichever function, changes nothing that is told."""
    with faulty_functions():
        reference, injector = await run(brokers[0], "reference")
        every = list(plan(injector.seen, {"function"}, 1))
        faults = every if _ALL else [fault for number, fault in enumerate(every) if number % 4 in (0, 3)]  # kinds take turns
        wrong, happened = await inexact(brokers, faults, reference)
    say(f"{happened} faults in {len(faults)} runs, {len(wrong)} inexact")
    assert wrong == {}
    assert happened > 50
    assert happened > 0.9 * len(faults)


class DurableTooEarly(MortalLanes):
    """Lanes that call an offset durable before its messages are acknowledged."""

    async def _make_durable(self, lane: Lane, checkpoint: Checkpoint) -> None:
        if checkpoint.durable is not None:
            lane.durable = checkpoint.durable
        await super()._make_durable(lane, checkpoint)


class StoredTooEarly(MortalLanes):
    """Lanes that store the state before its messages are acknowledged."""

    async def _make_durable(self, lane: Lane, checkpoint: Checkpoint) -> None:
        if checkpoint.complete is not None:
            await checkpoint.complete()
        await super()._make_durable(lane, replace(checkpoint, complete=None))


class ChunksTooEarly(MortalLanes):
    """Lanes that send the state before the messages that were made with it."""

    async def _make_durable(self, lane: Lane, checkpoint: Checkpoint) -> None:
        await self._sender.send_all(checkpoint.state)
        await super()._make_durable(lane, replace(checkpoint, state=[]))


class GoesOn(MortalLanes):
    """Lanes that go on after a flush was broken off, as if what it had cut had been sent."""

    def _rewind(self, lane: Lane, why: str, *, pause: bool = True) -> None:
        if why != "its flush was broken off":
            super()._rewind(lane, why, pause=pause)


@pytest.mark.parametrize(
    ("kind", "border", "fault"),
    [
        (DurableTooEarly, "acknowledgements", "crash before"),
        (StoredTooEarly, "acknowledgements", "crash before"),
        (ChunksTooEarly, "produce", "crash before"),
        (GoesOn, "produce", "held"),
    ],
)
async def test_a_wrong_order_is_noticed(brokers: list[Broker], kind: type[MortalLanes], border: str, fault: str) -> None:
    """Lanes that keep the order of a flush wrong are exact without faults, and caught by the faults above."""
    reference, injector = await run(brokers[0], "reference")
    told, _ = await run(brokers[0], "broken", lanes=kind)
    assert told.differences(reference) == []
    points = [
        Point(of, site, number)
        for (of, site), count in injector.seen.items()
        if of == border and site in ("flush", "alerts", "outcomes")
        for number in range(count)
    ]
    wrong, happened = await inexact(brokers, [Fault(point, fault) for point in points], reference, kind)
    assert happened
    assert wrong
