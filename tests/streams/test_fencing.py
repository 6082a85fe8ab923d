"""A worker that was away for longer than its session undoes nothing: in Redis, in the lanes, with real processes."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from faust.types import TP
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.spec import ModelSpec
from detectors.windows.record import Mark
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.engine.lanes import Lanes
from streams.engine.transport import LogState
from streams.kafka import Log, Sender, create_topics, delete_topics
from streams.metrics import Metrics
from streams.records import window_records
from streams.records.outcomes import Outcome, outcomes_of
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.state.store import FencedError, Store
from streams.topics import ALERTS, EVENTS, OUTCOMES, RETRAINS, WINDOWS, topic_name
from streams.worker.agents import stage_makers
from tests.support.deployment import ShopDeployment, end_of, shop_log, until
from tests.support.records import batch_of, log_of

# -- the store -----------------------------------------------------------------------------------------


class Writer:
    """A worker reduced to what it stores: a state that follows from the log, and the offset it knows to be stored."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self.load()

    def load(self) -> None:
        """Begin where the stored state stands."""
        found = self._store.load_snapshot(self._name)
        self.stored, state = found if found is not None else (None, b"")
        self.position, self.state = self.stored or 0, state

    def read(self, records: int) -> None:
        """Take records of a log whose every byte is known."""
        self.state += bytes((self.position + number) % 251 for number in range(records))
        self.position += records

    def save(self) -> bool:
        """Store the state; False, and everything dropped and loaded again, if somebody else has meanwhile."""
        try:
            self._store.save_snapshot(self._name, self.stored, self.position, self.state)
        except FencedError:
            self.load()
            return False
        self.stored = self.position
        return True


steps = st.tuples(st.integers(0, 2), st.one_of(st.sampled_from(["save", "load"]), st.integers(1, 9)))


def test_writers_in_any_order_never_undo_each_other(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Whoever saves when, the stored state is always that of its offset, and what was stored is not overwritten by less."""
    numbers = iter(range(10**6))

    @effort(max_examples=60)
    @given(st.lists(steps, max_size=40))
    def check(schedule: list[tuple[int, str | int]]) -> None:
        store, name = Store(redis_settings, signing_key), f"judge/{next(numbers)}"
        writers = [Writer(store, name) for _ in range(3)]
        newest = 0
        for number, step in schedule:
            writer = writers[number]
            if isinstance(step, int):
                writer.read(step)
            elif step == "load":
                writer.load()
            elif writer.save():
                assert writer.position >= newest
            offset, state = store.load_snapshot(name) or (0, b"")
            assert offset >= newest
            assert state == bytes(at % 251 for at in range(offset))
            newest = offset

    check()


def test_an_owner_that_a_zombie_overtook_goes_on_from_there(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """If the old worker stores once more before the new one has, the new one is refused, loads that state and goes on."""
    store = Store(redis_settings, signing_key)
    zombie, owner = Writer(store, "judge/0"), Writer(store, "judge/0")
    zombie.read(10)
    assert zombie.save()
    owner.load()
    zombie.read(5)
    owner.read(3)
    assert zombie.save()
    assert not owner.save()
    assert owner.position == 15
    owner.read(1)
    assert owner.save()
    zombie.read(1)
    assert zombie.save(), "the same offset and the same bytes: it was the same work"
    zombie.read(2)
    owner.read(3)
    assert owner.save()
    assert not zombie.save()


# -- the lanes -----------------------------------------------------------------------------------------

HERE = TP("t.windows", 0)
KAFKA = KafkaSettings(bootstrap="127.0.0.1:1", prefix="t")
#: Marks of one model: they change the judge's state, and nothing follows from them that would have to be sent.
MARKS = log_of(
    [window_records.outgoing(KAFKA, Mark("m", "features", number % 2, 2, 60.0 * number)).value for number in range(90)],
    topic="t.windows",
)


class Rewound:
    """Does at once what the consumer does on a rewind, and keeps where that was."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._epoch = 1
        self.positions: list[int] = []
        lanes.attach(self)

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Load the state again."""
        self._epoch += 1
        for tp in tps:
            found = await self._lanes.restore(self._epoch, {tp: LogState(30, 0, len(MARKS))})
            self.positions.append(found[tp])


async def test_lanes_that_lost_their_partition_move_no_offset(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """A judge that wakes up and flushes is refused: its offset stays, the state stays, and it begins again at the new owner's."""
    settings = Settings(kafka=KAFKA, redis=redis_settings, signing_key=signing_key, models=(ModelSpec("m"),))
    store = Store(redis_settings, signing_key)
    sender = Sender(KAFKA, "test")

    def worker() -> tuple[Lanes, Metrics]:
        metrics = Metrics()
        makers = stage_makers(settings, store=store, metrics=metrics, sinks=[], sources=2)
        return Lanes(KAFKA, sender, metrics, {"t.windows": makers["t.windows"]}), metrics

    (old, old_metrics), (new, _) = worker(), worker()
    await old.restore(1, {HERE: LogState(None, 0, len(MARKS))})
    await old.add("judge", batch_of(MARKS[:30]))
    await old.flush(10.0)
    assert old.durable(HERE) == 30
    await old.add("judge", batch_of(MARKS[30:60]))  # here it freezes
    assert (await new.restore(1, {HERE: LogState(30, 0, len(MARKS))})) == {HERE: 30}
    await new.add("judge", batch_of(MARKS[30:50]))
    await new.flush(10.0)
    assert new.durable(HERE) == 50
    stored = store.load_snapshot("judge/0")
    rewound = Rewound(old)
    await old.flush(10.0)
    assert old.durable(HERE) in (None, 30), "nothing may be committed that was not stored"
    assert store.load_snapshot("judge/0") == stored
    deadline = time.monotonic() + 30
    while not rewound.positions:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert rewound.positions == [50]
    assert old_metrics.registry.get_sample_value("driftline_rewinds_total", {"agent": "judge"}) == 1
    await new.add("judge", batch_of(MARKS[50:]))
    await new.flush(10.0)
    assert new.durable(HERE) == len(MARKS)
    sender.close(0.0)


# -- real processes --------------------------------------------------------------------------------------

WINDOWS_SENT, DRIFT_AT = 120, 60


def metric(address: str, name: str) -> float:
    """Return a metric of a worker, summed over its labels."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


class WatchedOffsets:
    """What a zombie could spoil: the snapshot's offset and the committed ones; none may ever go back."""

    def __init__(self, deployment: ShopDeployment) -> None:
        self._deployment = deployment
        self._store = Store(deployment.redis, deployment.key)
        self._names = [f"judge/{number}" for number in range(4)]
        self.seen: dict[str, int] = {}
        self.members = 0

    def look(self) -> None:
        """Look once."""
        now = {name: found[0] for name in self._names if (found := self._store.load_snapshot(name)) is not None}
        log = Log(self._deployment.kafka, "worker")
        for topic in (EVENTS, OUTCOMES, WINDOWS):
            committed = log.committed(topic_name(self._deployment.kafka.prefix, topic))
            now |= {f"{topic.name}/{number}": offset for number, offset in committed.items()}
        log.close()
        for name, offset in now.items():
            assert offset >= self.seen.get(name, 0), f"{name} went back from {self.seen.get(name)} to {offset}"
        self.seen |= now
        admin = AdminClient({"bootstrap.servers": self._deployment.kafka.bootstrap})
        group = f"{self._deployment.kafka.prefix}.worker"
        self.members = len(admin.describe_consumer_groups([group])[group].result(30).members)


@pytest.fixture
def deployments(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> Iterator[list[ShopDeployment]]:
    """Two deployments on the shared servers, for the same log."""
    made = []
    for name in ("calm", "rough"):
        kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=f"{prefix}-{name}")
        create_topics(kafka)
        made.append(ShopDeployment(tmp_path / name, kafka, RedisSettings(redis_server.url, kafka.prefix), signing_key))
    yield made
    for deployment in made:
        deployment.stop()
        delete_topics(deployment.kafka)


def finish(deployment: ShopDeployment) -> dict[str, set[bytes]]:
    """Wait until everything is judged and return alerts and requests by id."""
    said = "\n".join(child.tail(1500) for child in deployment.children)
    until(lambda: deployment.judged_to_the_end(end_of(WINDOWS_SENT)) or None, seconds=120, what=f"the end of the log; {said}")
    return {**deployment.bytes_by_id(ALERTS), **deployment.bytes_by_id(RETRAINS)}


def at_work(deployment: ShopDeployment) -> Child:
    """Start a worker and return it when it is in the middle of the log."""
    worker, address = deployment.ready("worker")
    until(lambda: metric(address, "driftline_windows_judged_total") > 0 or None, what=f"a judge at work; {worker.tail()}")
    return worker


def test_a_worker_that_wakes_up_after_its_session_changes_nothing(deployments: list[ShopDeployment]) -> None:
    """Frozen, replaced, woken: no snapshot and no commit goes back, repeats are the same bytes, and it works again."""
    calm, rough = deployments
    calm.send(shop_log(calm.kafka.prefix, WINDOWS_SENT, drift_at=DRIFT_AT))
    calm.ready("worker")
    expected = finish(calm)
    calm.stop()
    log = shop_log(rough.kafka.prefix, WINDOWS_SENT, drift_at=DRIFT_AT)
    most = len(log) * 3 // 4
    rough.send(log[:most])
    frozen = at_work(rough)
    frozen.signal(signal.SIGSTOP)
    _, address = rough.ready("worker")  # has its partitions once the session of the other is over
    watched = WatchedOffsets(rough)

    def caught_up() -> bool | None:
        watched.look()
        return (metric(address, "driftline_events_total") > 0 and metric(address, "driftline_unread_records") == 0) or None

    until(caught_up, what="the second worker at the end of what was sent")
    frozen.signal(signal.SIGCONT)

    def rejoined() -> bool | None:
        watched.look()
        return watched.members == 2 or None

    until(rejoined, what=f"the first worker in the group again; {frozen.tail()}")
    rough.send(log[most:])
    assert finish(rough) == expected
    watched.look()
    assert frozen.running
    outcomes: dict[tuple[str, int, int], Outcome] = {}
    for record in rough.read(OUTCOMES):
        for one in outcomes_of(record.value):
            assert outcomes.setdefault((one.model, one.source.partition, one.source.offset), one) == one
