"""The join on a real Redis: which outcomes come out depends on the log alone, whatever crashes in between."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import UnavailableError
from detectors.spec import ModelSpec, OutcomeSpec
from streams.events.event import outcome_tick
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.records.outcomes import Outcome, PredictionValue, SourceOffset, error_of, parse
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.join import Join
from streams.state.store import Store
from tests.support.records import NOW, Fetched, batch_of, checkpoints, feed, log_of, make_durable
from tests.support.wired import wired

WITHIN = 100.0
MODELS = {name: ModelSpec(name, outcomes=OutcomeSpec(label_within_seconds=WITHIN)) for name in ("m", "n")}
KAFKA = KafkaSettings(prefix="t")
PARTITION = 2


def prediction(identity: str | None, at: float = 0.0, *, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return a prediction whose event time is `at` seconds after NOW's day before."""
    known = {} if identity is None else {"id": identity}
    return {"model": model, "ts": NOW - 5000 + at, "features": {"x": at}, "prediction": True, **known, **fields}


def truth(identity: str, at: float = 10.0, *, model: str = "m", label: Any = False) -> dict[str, Any]:
    """Return a label that comes `at` seconds after that."""
    return {"model": model, "id": identity, "ts": NOW - 5000 + at, "label": label}


@pytest.fixture
def store(redis_settings: RedisSettings, signing_key: Secret) -> Store:
    """A Redis of the test's own."""
    return Store(redis_settings, signing_key)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of the test's own."""
    return Metrics()


def join(store: Store, start: int = 0, metrics: Metrics | None = None) -> Join:
    """Return the stage as a worker begins it."""
    return Join(wired(MODELS, store=store, metrics=metrics), partition=PARTITION, start=start)


def outcomes_of(messages: Iterable[Outgoing]) -> list[Outcome]:
    """Return what messages to the outcomes topic say."""
    found = [parse(message.value) for message in messages]
    return [one for one in found if isinstance(one, Outcome)]


async def joined(store: Store, events: Sequence[Any], metrics: Metrics | None = None) -> list[Outcome]:
    """Return the outcomes of a log that is read once, without trouble."""
    stage = join(store, metrics=metrics)
    position = await feed(stage, log_of(events, partition=PARTITION))
    return outcomes_of(await make_durable(stage.checkpoint(position, final=False)))


def counted(metrics: Metrics, result: str, model: str = "m") -> float:
    """Return how many labels came to that."""
    return metrics.registry.get_sample_value("driftline_outcomes_total", {"model": model, "result": result}) or 0.0


async def test_a_pair_is_an_outcome_with_everything_about_it(store: Store) -> None:
    """An outcome has the prediction's features, segment and version, the label's truth and time, and the later offset."""
    full = prediction("a", segment="eu", model_version="7", prediction={"label": "spam", "score": 0.9})
    found = await joined(store, [full, truth("a", label="ham")])
    assert found == [
        Outcome(
            "a",
            "m",
            "eu",
            NOW - 4990,
            NOW - 5000,
            "7",
            {"x": 0.0},
            PredictionValue("spam", 0.9),
            "ham",
            SourceOffset(PARTITION, 1),
        )
    ]


async def test_outcomes_go_to_the_partition_of_their_events(store: Store) -> None:
    """The message names its partition and carries the id as its key: sources of one partition stay in order."""
    stage = join(store)
    position = await feed(stage, log_of([prediction("a"), truth("a")], partition=PARTITION))
    checkpoint = stage.checkpoint(position, final=False)
    assert checkpoint is not None
    assert [(message.topic, message.key, message.partition) for message in checkpoint.outgoing] == [
        ("t.outcomes", b"a", PARTITION)
    ]
    assert checkpoint.durable == 2


async def test_a_label_may_come_first(store: Store) -> None:
    """A label that overtook its prediction is joined all the same, at the prediction's offset."""
    (found,) = await joined(store, [truth("a"), prediction("a")])
    assert (found.label, found.source.offset, found.ts) == (False, 1, NOW - 4990)


async def test_the_first_of_each_half_counts(store: Store, metrics: Metrics) -> None:
    """Repeated predictions and labels of an id change nothing; repeated labels are counted."""
    log = [prediction("a", 1.0), prediction("a", 2.0), truth("a", 10.0, label=True), truth("a", 11.0), prediction("a", 3.0)]
    (found,) = await joined(store, log, metrics)
    assert (found.features, found.label, found.source.offset) == ({"x": 1.0}, True, 2)
    assert (counted(metrics, "joined"), counted(metrics, "duplicate")) == (1, 1)


async def test_a_label_in_time_is_joined_and_a_later_one_is_counted(store: Store, metrics: Metrics) -> None:
    """`label_within` after the prediction is in time to the second, and later is too late."""
    found = await joined(store, [prediction("a"), prediction("b"), truth("a", WITHIN), truth("b", WITHIN + 0.001)], metrics)
    assert [one.id for one in found] == ["a"]
    assert counted(metrics, "too_late") == 1


async def test_what_cannot_be_joined_waits_or_is_passed_over(store: Store, metrics: Metrics) -> None:
    """Predictions without an id, feature-only events and labels of other models join nothing."""
    log = [prediction(None), {"model": "m", "id": "a", "features": {"x": 1}}, truth("a"), prediction("b"), truth("b", model="n")]
    assert await joined(store, log, metrics) == []
    assert (counted(metrics, "waiting"), counted(metrics, "waiting", "n")) == (1, 1)


async def test_ids_that_look_alike_stay_apart(store: Store) -> None:
    """Ids with separators, other scripts or the names of halves meet only themselves; 7 and "7" are the same."""
    ids = ["l:a", "p:l:a", "a", "", "é", "日本", "a\x00b", "a\nb", ":", "*", "7"]
    log = [prediction(name) for name in ids if name] + [truth(name, label=name) for name in ids if name]
    log += [prediction("8"), {**truth("x"), "id": 8}]
    found = await joined(store, log)
    assert [(one.id, one.label) for one in found] == [(name, name) for name in ids if name] + [("8", False)]


async def test_a_half_waits_in_redis_for_a_later_run(store: Store) -> None:
    """A prediction made durable by one worker is joined by the next one with its label."""
    log = log_of([prediction("a"), truth("a")], partition=PARTITION)
    first = join(store)
    await make_durable(first.checkpoint(await feed(first, log[:1]), final=True))
    second = join(store, start=1)
    found = outcomes_of(await make_durable(second.checkpoint(await feed(second, log), final=False)))
    assert [(one.id, one.features) for one in found] == [("a", {"x": 0.0})]


async def test_what_is_joined_shrinks_to_its_offset(store: Store, redis_settings: RedisSettings) -> None:
    """After a pair is durable Redis keeps a few bytes of each half, for a bounded time, to know repeats by."""
    raw: Any = redis.Redis.from_url(redis_settings.url)
    log = log_of([prediction("a", note="x" * 5000, features={"x": "y" * 5000}), truth("a"), truth("a")], partition=PARTITION)
    stage = join(store)
    await make_durable(stage.checkpoint(await feed(stage, log[:1]), final=False))
    (key,) = raw.keys(f"{redis_settings.prefix}:pending:*")
    assert raw.strlen(key) > 5000
    await stage.feed(batch_of(log[1:2]), 1)
    await make_durable(stage.checkpoint(2, final=False))
    keys = raw.keys(f"{redis_settings.prefix}:pending:*")
    assert len(keys) == 2
    assert all(raw.strlen(key) < 16 and 0 < raw.ttl(key) <= WITHIN + 2 * 86_400 for key in keys)
    await stage.feed(batch_of(log[2:]), 2)
    assert await make_durable(stage.checkpoint(3, final=False)) == []


async def test_nothing_new_is_nothing_to_do(store: Store) -> None:
    """A stage that has read nothing since its last cut has nothing to flush."""
    stage = join(store)
    assert stage.checkpoint(0, final=True) is None
    position = await feed(stage, log_of([prediction("a")], partition=PARTITION))
    assert len(stage.outbox) == 1
    await make_durable(stage.checkpoint(position, final=False))
    assert len(stage.outbox) == 0
    assert stage.checkpoint(position, final=False) is None


class Held(Store):
    """A Redis whose answer to the join arrives only when the test lets it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked, self.arrive = threading.Event(), threading.Event()
        self.arrive.set()

    def get_pending(self, scope: str, ids: Iterable[str]) -> list[bytes | None]:
        """Ask now, answer later."""
        found = super().get_pending(scope, ids)
        self.asked.set()
        assert self.arrive.wait(30)
        return found


async def test_a_flush_while_redis_is_asked_loses_no_pair(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """A half stored between the question to Redis and its answer is in neither, and is joined all the same."""
    held = Held(redis_settings, signing_key)
    log = log_of([prediction("a"), truth("a")], partition=PARTITION)
    stage = join(held)
    await feed(stage, log[:1])
    held.asked.clear()
    held.arrive.clear()
    feeding = asyncio.create_task(stage.feed(batch_of(log[1:]), 1))
    await asyncio.to_thread(held.asked.wait, 30)
    await make_durable(stage.checkpoint(1, final=False))
    held.arrive.set()
    await feeding
    assert [one.id for one in outcomes_of(await make_durable(stage.checkpoint(2, final=False)))] == ["a"]


# -- crashes ---------------------------------------------------------------------------------------


class MortalStore(Store):
    """A Redis that goes away after so many writes."""

    lives = 1_000_000

    def put_pending(self, scope: str, items: Sequence[tuple[str, bytes]], ttl_seconds: float) -> None:
        """Keep values, while it lives."""
        self._die()
        super().put_pending(scope, items, ttl_seconds)

    def shrink_pending(self, scope: str, items: Sequence[tuple[str, bytes]]) -> None:
        """Shrink values, while it lives."""
        self._die()
        super().shrink_pending(scope, items)

    def _die(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise UnavailableError("gone")


@dataclass(frozen=True)
class Run:
    """One run of a worker, until it is killed.

    Args:
        back: how far before the durable offset it begins.
        sizes: of the batches it reads; after each it flushes.
        sent: of the last flush, how many messages arrive; beyond them it is dead.
        lives: writes to Redis that the last flush still does.
    """

    back: int
    sizes: list[int]
    sent: int
    lives: int


_EVENTS = st.lists(
    st.tuples(st.sampled_from("pl"), st.sampled_from("abc"), st.sampled_from((0.0, 50.0, 99.0, 200.0)), st.sampled_from("mn")),
    max_size=14,
)
_RUNS = st.lists(
    st.builds(Run, st.integers(0, 14), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 5)),
    max_size=4,
)


def _expected(events: Sequence[tuple[str, str, float, str]]) -> list[tuple[str, str, float, float, int]]:
    """Return what rules 1, 3 and 5 of the join say, without any machinery: (model, id, p.x, l.x, offset)."""
    first: dict[tuple[str, str, str], tuple[int, float]] = {}
    found = []
    for offset, (half, identity, at, model) in enumerate(events):
        if (model, identity, half) in first:
            continue
        first[model, identity, half] = (offset, at)
        predicted, known = first.get((model, identity, "p")), first.get((model, identity, "l"))
        if predicted and known and known[1] - predicted[1] <= WITHIN:
            found.append((model, identity, predicted[0], known[0], offset))
    return found


async def _survive(stores: tuple[MortalStore, Store], log: list[Fetched], runs: Sequence[Run]) -> list[Outcome]:
    """Return the outcomes topic after the runs, and one that is left alone."""
    mortal, store = stores
    topic: list[Outcome] = []
    durable = 0
    for run in runs:
        stage = join(mortal, start=max(0, durable - run.back))
        mortal.lives = 1_000_000
        written: list[Outcome] = []
        async for checkpoint, last in checkpoints(stage, log, run.sizes):
            found = outcomes_of(checkpoint.outgoing[: run.sent] if last else checkpoint.outgoing)
            written += found
            if last and len(found) < len(checkpoint.outgoing):
                break
            mortal.lives = run.lives if last else 1_000_000
            try:
                await make_durable(checkpoint)
            except UnavailableError:
                break
            durable = max(durable, checkpoint.durable or 0)
        assert [one.source.offset for one in written] == sorted({one.source.offset for one in written})
        topic += written
    stage = join(store, start=durable)
    return topic + outcomes_of(await make_durable(stage.checkpoint(await feed(stage, log), final=True)))


def test_outcomes_are_the_same_whatever_crashes(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """After any crashes, with replay from any offset before the durable one, dropping repeats leaves a clean run's outcomes.

    A repeat is what SummariseOutcomes takes for one: a source at or before the newest seen.
    """
    examples = itertools.count()

    def fresh(kind: type[Store]) -> Any:
        return kind(RedisSettings(redis_settings.url, f"{redis_settings.prefix}:{next(examples)}"), signing_key)

    @effort(max_examples=150, deadline=None)
    @given(_EVENTS, _RUNS)
    def check(events: list[tuple[str, str, float, str]], runs: list[Run]) -> None:
        values = [
            prediction(identity, at, model=model, features={"at": number})
            if half == "p"
            else truth(identity, at, model=model, label=number)
            for number, (half, identity, at, model) in enumerate(events)
        ]
        log = log_of(values, partition=PARTITION)
        mortal = fresh(MortalStore)
        name = mortal._settings.prefix
        topic = asyncio.run(_survive((mortal, Store(RedisSettings(redis_settings.url, name), signing_key)), log, runs))
        kept: list[Outcome] = []
        for one in topic:
            if not kept or one.source.offset > kept[-1].source.offset:
                kept.append(one)
        assert [(one.model, one.id, one.features["at"], one.label, one.source.offset) for one in kept] == _expected(events)
        assert kept == asyncio.run(joined(fresh(Store), values))

    check()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "score", "known", "error"),
    [
        (True, None, True, 0.0),
        (True, 0.9, False, 1.0),
        ("spam", None, "spam", 0.0),
        ("spam", None, "ham", 1.0),
        (3, None, 5, 1.0),
        (1, None, True, 0.0),
        ("1", None, 1, 1.0),
        (12.5, None, 10.0, 2.5),
        (12.5, None, 10, 2.5),
        (12, None, 12.5, 0.5),
        (1.0, None, True, 0.0),
        (0.5, None, True, 1.0),
        (12.5, None, "high", 1.0),
        (None, 12.5, 10, 2.5),
        (None, 0.75, True, 0.25),
        (None, 0.75, "spam", None),
        (None, None, True, None),
        (True, None, None, None),
    ],
)
def test_an_error_is_a_distance_for_numbers_and_right_or_wrong_for_classes(
    label: Any, score: float | None, known: Any, error: float | None
) -> None:
    """A float on either side makes both numbers; integers, booleans and strings are names of classes."""
    outcome = Outcome("a", "m", "", 1.0, 0.0, None, {}, PredictionValue(label, score), known, SourceOffset(0, 1))
    assert error_of(outcome) == error


async def test_a_tick_for_outcomes_keeps_its_place(store: Store) -> None:
    """It is passed on behind the outcomes of what stood before it, and before those of what came after."""
    ticked = orjson.loads(outcome_tick("m", NOW))
    events = [prediction("a"), truth("a"), ticked, prediction("b"), truth("b")]
    log = log_of(events, topic="t.events", partition=PARTITION)
    stage = join(store)
    await feed(stage, log)
    sent = await make_durable(stage.checkpoint(len(log), final=False))
    assert [getattr(parse(one.value), "id", "tick") for one in sent] == ["a", "tick", "b"]
    assert {(one.topic, one.partition) for one in sent} == {("t.outcomes", PARTITION)}
