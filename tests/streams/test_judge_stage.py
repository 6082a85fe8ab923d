"""The judge stage on a real Redis: the same alerts whatever crashes, and a clear word where state does not fit."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec
import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import SignatureError, StateError
from detectors.incidents.decision import Decision
from detectors.model.finding import ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, ReferenceSpec, RetrainSpec, shapes_of
from detectors.windows.record import Kind, Mark, Window
from detectors.windows.row import ERROR, Row
from detectors.windows.windows import Windows
from streams.engine.transport import LogState
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.records import cloudevents, window_codec, window_records
from streams.records.dead_letters import REASON
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.judge import JudgeStage, load_state
from streams.state import snapshot
from streams.state.references import References
from streams.state.store import FencedError, Store
from tests.support.clock import Clock
from tests.support.records import Fetched, batch_of, decode, log_of, make_durable
from tests.support.wired import wired

KAFKA = KafkaSettings(prefix="t")
SOURCES = 2
SPEC = ModelSpec(
    "m",
    factory="a:b",
    window_seconds=60.0,
    reference=ReferenceSpec(seconds=1800.0, min_windows=24),
    retrain=RetrainSpec(cooldown_seconds=1800.0),
)
MODELS = {"m": SPEC, "n": ModelSpec("n")}
NAME = "judge/0"
#: The events that follow from the log: bytes by id.
Told = dict[str, bytes]


@pytest.fixture
def store(redis_settings: RedisSettings, signing_key: Secret) -> Store:
    """A Redis of the test's own."""
    return Store(redis_settings, signing_key)


def history_log() -> list[Fetched]:
    """Return a windows topic: two sources of features and one of errors, all of which change for good, and an answer."""
    draw = random.Random(11)
    records: list[Window | Mark | Decision] = []
    kinds: tuple[Kind, ...] = ("features", "outcomes")
    writers = {
        (kind, source): Windows(kind, source=source, sources=SOURCES, shapes=shapes_of(MODELS, kind))
        for kind in kinds
        for source in range(SOURCES)
    }
    for second in range(0, 7200, 2):
        late = second >= 4200
        # Colours change when the incident is open already, so that it is told of twice.
        colours = "bc" if second >= 4380 else "ab"
        values: dict[str, Any] = {"x": draw.gauss(6.0 if late else 0.0, 1.0), "colour": draw.choice(colours)}
        row = Row(second, "m", float(second), "", values)
        wrong = Row(second, "m", float(second), "", {ERROR: float(draw.random() < (0.6 if late else 0.1))})
        records += writers["features", second // 2 % SOURCES].add_rows([row]).records
        records += writers["outcomes", second // 2 % SOURCES].add_rows([wrong]).records
        if second == 5400:
            records.append(Decision("swap-1", "m", "retrain-unknown", "promoted", 2, ["colour", "x"]))
    return log_of((window_records.outgoing(KAFKA, record).value or b"" for record in records), topic="t.windows")


LOG = history_log()


async def judge(store: Store, log: LogState, clock: Clock | None = None, metrics: Metrics | None = None) -> JudgeStage:
    """Return the stage as a worker begins it: from the snapshot, if there is one."""
    stored, monitors = await load_state(store, NAME, log)
    return JudgeStage(
        wired(MODELS, store=store, metrics=metrics),
        partition=0,
        log=log,
        stored=stored,
        monitors=monitors,
        clock=clock or Clock(),
    )


def told(messages: Iterable[Outgoing]) -> Told:
    """Return alerts and requests by id; the same id must be the same bytes."""
    found: Told = {}
    for message in messages:
        if message.topic in ("t.alerts", "t.retrains"):
            event = cloudevents.decode(message.value or b"", cloudevents.ALERT, cloudevents.RETRAIN)
            assert found.setdefault(event["id"], message.value or b"") == message.value
            assert message.key == b"m"
    return found


@dataclass(frozen=True)
class JudgeLife:
    """One life of a worker.

    Args:
        batches: sizes of the batches it reads; after each it flushes.
        sent: of the last flush, how many messages arrive before it dies; None: all, and the snapshot too.
        committed: what Kafka says was committed; the snapshot wins.
    """

    batches: list[int]
    sent: int | None
    committed: int


async def survive(store: Store, lives: Sequence[JudgeLife]) -> Told:
    """Return what follows from LOG when workers die on the way and one comes to the end."""
    messages: list[Outgoing] = []
    for life in [*lives, JudgeLife([len(LOG)], None, 0)]:
        stage = await judge(store, LogState(life.committed, 0, len(LOG)))
        position = stage.start
        for number, size in enumerate(life.batches):
            records = LOG[position : position + size]
            if not records:
                break
            await stage.feed(batch_of(records), position)
            position += len(records)
            checkpoint = stage.checkpoint(position, final=number % 2 == 0)
            if checkpoint is None:
                continue
            if number == len(life.batches) - 1 and life.sent is not None:
                messages += checkpoint.outgoing[: life.sent]
                break
            messages += await make_durable(checkpoint)
    return told(messages)


def test_alerts_are_the_same_to_the_byte_whatever_crashes(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """However often a worker dies, before or after its messages arrive, alerts and requests are those of a clean run."""
    names = itertools.count()

    def fresh() -> Store:
        return Store(RedisSettings(redis_settings.url, f"{redis_settings.prefix}:{next(names)}"), signing_key)

    clean = asyncio.run(survive(fresh(), []))
    statuses = {orjson.loads(value)["data"].get("status") for value in clean.values()}
    assert {"opened", "updated", "resolved", None} == statuses  # None: a retrain request

    @effort(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.builds(
                JudgeLife,
                st.lists(st.integers(1, 120), min_size=1, max_size=6),
                st.none() | st.integers(0, 3),
                st.integers(0, 500),
            ),
            max_size=5,
        )
    )
    def check(lives: list[JudgeLife]) -> None:
        assert asyncio.run(survive(fresh(), lives)) == clean

    check()


def test_a_snapshot_taken_anywhere_is_the_state_itself() -> None:
    """State that went through bytes at any record goes on exactly as state that stayed in memory."""
    kept, restored = ModelMonitor.begin(SPEC), ModelMonitor.begin(SPEC)
    for number, record in enumerate(LOG):
        parsed = window_codec.parse(record.value)
        found, again = (
            [one for one in monitor.add(parsed) if not isinstance(one, ReferenceLearned)] for monitor in (kept, restored)
        )
        assert found == again
        if number % 7 == 0:
            restored = snapshot.load(NAME, snapshot.dump({"m": restored}))["m"]
            restored.bind(SPEC)
    assert kept.open_incidents == restored.open_incidents
    assert kept.channels["features"].retrains == restored.channels["features"].retrains


async def test_references_are_published_with_the_snapshot_and_after_the_acknowledgements(store: Store) -> None:
    """What scoring reads appears only when the messages before it were acknowledged, and again after a restart."""
    stage = await judge(store, LogState(None, 0, len(LOG)))
    await stage.feed(batch_of(LOG), 0)
    checkpoint = stage.checkpoint(len(LOG), final=False)
    assert checkpoint is not None
    assert References(store).current("m", "", None) is None
    await make_durable(checkpoint)
    found = References(store).current("m", "", None)
    assert found is not None
    version_before = found[0]
    again = await judge(store, LogState(None, 0, len(LOG) + 1))
    await again.feed(batch_of([Fetched(b"garbage", len(LOG), topic="t.windows")]), len(LOG))
    await make_durable(again.checkpoint(len(LOG) + 1, final=True))
    assert References(store).current("m", "", version_before) is None


async def test_incidents_spend_the_budget_of_a_week(store: Store) -> None:
    """The gauge counts the incidents opened in a week of event time, as a share of the false alarms that are allowed in one."""
    metrics = Metrics()
    stage = await judge(store, LogState(None, 0, len(LOG)), metrics=metrics)
    await stage.feed(batch_of(LOG), 0)
    checkpoint = stage.checkpoint(len(LOG), final=True)
    assert checkpoint is not None
    statuses = [orjson.loads(value)["data"].get("status") for value in told(checkpoint.outgoing).values()]
    spent = metrics.registry.get_sample_value("driftline_budget_spent_ratio", {"model": "m"})
    assert spent == statuses.count("opened") / SPEC.false_alarms_per_week > 1


async def test_the_snapshot_is_where_reading_begins(store: Store) -> None:
    """The snapshot's offset wins over the committed one in both directions; without one the log is read from its beginning."""
    assert (await judge(store, LogState(40, 3, 100))).start == 3
    stage = await judge(store, LogState(None, 0, 100))
    await stage.feed(batch_of(LOG[:50]), 0)
    await make_durable(stage.checkpoint(50, final=True))
    for committed in (None, 10, 90):
        assert (await judge(store, LogState(committed, 0, 100))).start == 50


# -- guards ----------------------------------------------------------------------------------------


async def test_a_snapshot_beyond_the_log_is_refused(store: Store) -> None:
    """A topic that was created again is told from one that went on."""
    store.save_snapshot(NAME, None, 500, snapshot.dump({}))
    with pytest.raises(
        StateError, match=r"judge/0 stands at offset 500.*ends at 100.*created again.*driftline rebuild --from windows"
    ):
        await load_state(store, NAME, LogState(None, 0, 100))


async def test_a_snapshot_beyond_what_the_log_was_is_taken(store: Store) -> None:
    """Another worker judged on while this one was frozen: the broker is asked again before anything is refused."""
    store.save_snapshot(NAME, None, 500, snapshot.dump({}))
    assert await load_state(store, NAME, LogState(None, 0, 100), lambda: 600) == (500, {})
    with pytest.raises(StateError, match=r"stands at offset 500.*ends at 200"):
        await load_state(store, NAME, LogState(None, 0, 100), lambda: 200)


async def test_a_snapshot_before_the_log_is_refused(store: Store) -> None:
    """Windows that retention removed before they were judged are not passed over in silence."""
    store.save_snapshot(NAME, None, 10, snapshot.dump({}))
    with pytest.raises(StateError, match=r"offset 10.*begins at 50.*removed 40 records.*driftline rebuild --from windows"):
        await load_state(store, NAME, LogState(None, 50, 100))


async def test_a_snapshot_at_either_end_of_the_log_is_taken(store: Store) -> None:
    """Standing right at the beginning or the end of the log is no fault."""
    store.save_snapshot(NAME, None, 50, snapshot.dump({}))
    for log in (LogState(None, 50, 100), LogState(None, 0, 50)):
        assert await load_state(store, NAME, log) == (50, {})


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (msgspec.msgpack.encode(snapshot.Snapshot(river="0.25.0", models={})), rf"River 0\.25\.0, here is {version('river')}"),
        (
            msgspec.msgpack.encode(snapshot.Snapshot(river=version("river"), models={}, format=99)),
            rf"format 99, .* newer than format {snapshot.FORMAT} ",
        ),
        (b"", "cannot be read"),
        (b"\xc1garbage", "cannot be read"),
        (msgspec.msgpack.encode({"river": version("river"), "format": snapshot.FORMAT, "models": {"m": 5}}), "cannot be read"),
        (msgspec.msgpack.encode({"river": version("river"), "format": snapshot.FORMAT}), "cannot be read"),
    ],
)
async def test_a_snapshot_of_another_make_is_refused_with_the_way_out(store: Store, payload: bytes, words: str) -> None:
    """Another River, another format or broken bytes: the message says which, and how to begin anew."""
    store.save_snapshot(NAME, None, 10, payload)
    with pytest.raises(StateError, match=words) as caught:
        await load_state(store, NAME, LogState(None, 0, 100))
    assert "judge/0" in str(caught.value)
    assert "`driftline rebuild --from windows`" in str(caught.value)


async def test_an_altered_snapshot_is_refused_before_it_is_read(store: Store, redis_settings: RedisSettings) -> None:
    """One changed byte, anywhere in the record, and nothing of it is restored."""
    raw: Any = redis.Redis.from_url(redis_settings.url)
    store.save_snapshot(NAME, None, 10, snapshot.dump({}))
    key = f"{redis_settings.prefix}:snapshot:{NAME}"
    genuine = raw.get(key)
    for place in (0, 5, 37, len(genuine) - 1):
        altered = bytearray(genuine)
        altered[place] ^= 1
        raw.set(key, bytes(altered))
        with pytest.raises(SignatureError, match=r"judge/0.*driftline rebuild --from windows"):
            await load_state(store, NAME, LogState(None, 0, 100))


async def test_who_lost_the_partition_cannot_overwrite_the_state(store: Store) -> None:
    """Of two judges on one partition the second to store is refused, and the first one's state stays."""
    log = LogState(None, 0, len(LOG))
    old, new = await judge(store, log), await judge(store, log)
    await old.feed(batch_of(LOG[:30]), 0)
    await new.feed(batch_of(LOG[:20]), 0)
    await make_durable(new.checkpoint(20, final=True))
    with pytest.raises(FencedError, match="judge/0"):
        await make_durable(old.checkpoint(30, final=True))
    assert (await judge(store, log)).start == 20
    await new.feed(batch_of(LOG[20:60]), 20)
    await make_durable(new.checkpoint(60, final=True))
    assert (await judge(store, log)).start == 60


# -- when what is written ----------------------------------------------------------------------------


async def test_snapshots_are_not_stored_more_often_than_needed(store: Store) -> None:
    """Without alerts a snapshot waits for its second; an alert, or the end of the partition, does not wait."""
    clock = Clock()
    stage = await judge(store, LogState(None, 0, len(LOG)), clock)
    await stage.feed(batch_of(LOG[:10]), 0)
    assert stage.checkpoint(10, final=False) is None
    assert stage.checkpoint(10, final=True) is not None
    clock.now = 1.0
    checkpoint = stage.checkpoint(10, final=False)
    assert checkpoint is not None
    assert checkpoint.durable == 10
    await make_durable(checkpoint)
    assert stage.checkpoint(10, final=True) is None
    await stage.feed(batch_of(LOG[10:]), 10)
    assert len(stage.outbox) > 0
    assert stage.checkpoint(len(LOG), final=False) is not None


async def test_garbage_goes_to_the_dead_letters(store: Store) -> None:
    """What is no window is put aside with its reason; windows of models that are not configured are passed over."""
    metrics = Metrics()
    stage = await judge(store, LogState(None, 0, 100), metrics=metrics)
    mark = window_records.outgoing(KAFKA, Mark("stranger", "features", 0, 1, 60.0)).value
    garbage = [b"", b"\xff", b'{"model":"m"}', msgspec.msgpack.encode({"type": "mark", "model": "m"}), b"\x91" * 5000]
    log = log_of([*garbage, mark, LOG[0].value], topic="t.windows")
    await stage.feed(batch_of(log), 0)
    letters = await make_durable(stage.checkpoint(len(log), final=True))
    assert [(one.topic, one.value) for one in letters] == [("t.dead-letters", value) for value in garbage]
    assert {dict(one.headers)[REASON] for one in letters} == {b"not_a_window"}
    counted = metrics.registry.get_sample_value("driftline_dead_letters_total", {"reason": "not_a_window"})
    assert counted == len(garbage)


def _mark(source: int, until: float, kind: Kind = "features") -> Fetched:
    return Fetched(window_records.outgoing(KAFKA, Mark("m", kind, source, SOURCES, until)).value, topic="t.windows")


async def _take(stage: JudgeStage, records: Iterable[Fetched], position: int) -> int:
    for record in records:
        await stage.feed(batch_of([Fetched(record.value, position, topic="t.windows")]), position)
        position += 1
    return position


@pytest.mark.parametrize(("kind", "written"), [("features", "tick"), ("outcomes", "outcome_tick")])
async def test_a_source_that_falls_silent_is_ticked(store: Store, kind: Kind, written: str) -> None:
    """After ten seconds without a mark, while others went on, a tick moves the source's event time to theirs; and again."""
    clock = Clock()
    stage = await judge(store, LogState(None, 0, 100), clock)
    position = await _take(stage, [_mark(0, 120.0, kind)], 0)
    for now, expected in ((0.0, 0), (9.9, 0), (10.0, 1), (10.1, 0), (19.9, 0), (20.0, 1)):
        clock.now = now
        checkpoint = stage.checkpoint(position, final=False)
        ticks = [one for one in (checkpoint.outgoing if checkpoint else []) if one.topic == "t.events"]
        assert len(ticks) == expected, now
        for one in ticks:
            assert (one.partition, one.key) == (1, None)
            (event,), _ = decode([Fetched(one.value)], MODELS)
            assert (event.kind, event.model, event.ts) == (written, "m", 120.0)
        await make_durable(checkpoint)


async def test_rows_of_a_new_source_for_judged_buckets_are_counted_as_late(store: Store) -> None:
    """Partitions were added, and the new one has rows of an hour ago: late like any other, and no window is judged twice."""
    metrics = Metrics()
    stage = await judge(store, LogState(None, 0, 100), metrics=metrics)

    def window(source: int, start: float) -> Fetched:
        return Fetched(window_records.outgoing(KAFKA, Window("m", "", "features", source, start, 60.0, 0, 0, 7, {})).value)

    position = await _take(stage, [window(0, 0.0), window(1, 0.0), _mark(0, 60.0), _mark(1, 60.0)], 0)
    grown = [
        Fetched(window_records.outgoing(KAFKA, Mark("m", "features", source, SOURCES + 1, 120.0)).value)
        for source in range(SOURCES + 1)
    ]
    await _take(stage, [window(2, 0.0), window(2, 60.0), *grown], position)
    value = metrics.registry.get_sample_value
    assert value("driftline_late_events_total", {"model": "m"}) == 7
    assert value("driftline_windows_judged_total", {"model": "m", "kind": "features"}) == 2


async def test_a_source_that_moves_is_not_ticked(store: Store) -> None:
    """Slow is not silent: a source that gets on, if late, is left alone, and so is one that is level with the others."""
    clock = Clock()
    stage = await judge(store, LogState(None, 0, 100), clock)
    position = await _take(stage, [_mark(0, 600.0), _mark(1, 60.0)], 0)
    for step in range(1, 8):
        checkpoint = stage.checkpoint(position, final=False)
        assert [one.topic for one in (checkpoint.outgoing if checkpoint else [])] == []
        await make_durable(checkpoint)
        clock.now += 8.0
        position = await _take(stage, [_mark(1, 60.0 + 60 * step)], position)
    position = await _take(stage, [_mark(1, 600.0)], position)
    for _ in range(4):
        clock.now += 11.0
        checkpoint = stage.checkpoint(position, final=False)
        assert [one.topic for one in (checkpoint.outgoing if checkpoint else [])] == []
        await make_durable(checkpoint)
