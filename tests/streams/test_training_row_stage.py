"""Rows for training in the summarise stage: the features of predictions with an id, none of them lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.spec import ModelSpec, RetrainSpec
from streams.events.decoding import Decoding
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.records.training_rows import parse
from streams.stages.summarise import SummariseEvents
from streams.stages.training_rows import DailySample, PendingRows
from tests.support.records import Fetched, batch_of, checkpoints, decode, feed, log_of, make_durable
from tests.support.wired import wired

pytestmark = pytest.mark.fast

BEGIN = 1_000_000.0
MODELS = {
    "m": ModelSpec("m", factory="models:make", categorical=("c",), window_seconds=10.0),
    "n": ModelSpec("n", factory="models:make"),
    "off": ModelSpec("off", factory="models:make", retrain=RetrainSpec(enabled=False)),
    "without": ModelSpec("without"),
}
Told = dict[tuple[str, int], list[tuple[str, str, str]]]


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def pending(clock: HandClock, models: dict[str, ModelSpec] = MODELS, *, sources: int = 1) -> PendingRows:
    """Return the rows of partition 0."""
    return PendingRows(wired(models, sources=sources), source=0, clock=clock)


def rows_in(messages: Iterable[Outgoing]) -> Told:
    """Return (model, offset) -> (name, type, value) of the features in messages to the topic of rows; repeats must agree."""
    found: Told = {}
    for message in messages:
        if message.topic != "t.rows":
            continue
        rows = parse(message.value)
        assert (message.key, message.partition) == (rows.model.encode(), 0)
        for offset, features in zip(rows.offsets.tolist(), rows.features(np.arange(len(rows))), strict=True):
            row = typed(features)
            assert found.setdefault((rows.model, offset), row) == row
    return found


def written(records: Iterable[Any]) -> list[Fetched]:
    """Return a partition of records, which may hold integers of any size."""
    return log_of([one if isinstance(one, bytes) else json.dumps(one).encode() for one in records])


def typed(features: Any) -> list[tuple[str, str, str]]:
    """Return features with the types of their values."""
    return [(name, type(value).__name__, repr(value)) for name, value in features.items()]


def wanted(log: Sequence[Fetched]) -> Told:
    """Return what `rows_in` must find for a log."""
    events, _ = decode(log, MODELS)
    return {
        (event.model, event.offset): typed(event.features)
        for event in events
        if event.kind == "prediction" and event.id is not None and event.model in ("m", "n")
    }


def prediction(number: int, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return a prediction with an id."""
    return {"model": model, "id": f"id {number}", "ts": BEGIN, "features": {"x": number}, "prediction": True, **fields}


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-300, 300).map(lambda n: n / 100),
    st.sampled_from((3.0, -0.0, 1e16, float((1 << 53) + 2), "", "a", "b", "x" * 100, 1 << 53, (1 << 53) + 1, 1 << 70)),
)
_FEATURES = st.one_of(
    st.dictionaries(st.sampled_from(("x", "y", "z", "c", "prediction.label", "prediction.score")), _VALUES, max_size=6),
    st.fixed_dictionaries({"x": st.sampled_from((1, 2, 2.5, 3.0, None)), "y": st.floats(-9, 9), "c": st.integers(0, 3)}),
    st.fixed_dictionaries({"x": st.integers(0, 9), "w": st.sampled_from(("a", "b")), "t": st.booleans()}),
)
_ANSWERS = st.sampled_from((None, True, 0.5, "spam", 3, {"label": 2.5}, {"label": 1, "score": 0.25}, {}))
_EVENTS = st.builds(
    lambda model, identity, features, answer, kind: {
        "model": model,
        "ts": BEGIN,
        "id": identity,
        "features": features,
        "prediction": answer,
        **({"type": kind} if kind else {}),
    },
    st.sampled_from(("m", "m", "m", "n", "off", "without")),
    st.sampled_from((None, "a", "b", 7)),
    st.one_of(_FEATURES, st.none()),
    _ANSWERS,
    st.sampled_from((None, None, "prediction", "features", "tick")),
)
_RECORDS = st.lists(
    st.one_of(_EVENTS, st.sampled_from((b"garbage", {"model": "m", "id": "a", "ts": BEGIN, "label": True}))), max_size=40
)
_SIZES = st.lists(st.integers(1, 9), max_size=8)


@effort(max_examples=200)
@given(_RECORDS, _RECORDS, _SIZES)
def test_a_model_is_trained_with_what_it_was_asked_with(taught: list[Any], records: list[Any], sizes: list[int]) -> None:
    """Every prediction with an id of a model that is retrained has its features in a row, value and type as the event says."""
    log = written(records)
    wiring = wired(MODELS)
    _teach(wiring.decoding, taught)
    stage = SummariseEvents(wiring, source=0, start=0)

    async def run() -> list[Outgoing]:
        return await make_durable(stage.checkpoint(await feed(stage, log, sizes), final=True))

    assert rows_in(asyncio.run(run())) == wanted(log)


def _teach(decoding: Decoding, records: list[Any]) -> None:
    """Let a decoder learn types from other records first."""
    log = written(records)
    if log:
        decoding.decode([one.offset for one in log], [one.timestamp for one in log], [one.value for one in log])


@effort(max_examples=100)
@given(_RECORDS, st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 5)), max_size=4))
def test_no_row_is_lost_whatever_crashes(records: list[Any], lives: list[tuple[list[int], int]]) -> None:
    """A worker that dies before rows are sent leaves a durable offset from which the next one reads them again."""
    log = written(records)

    async def run() -> list[Outgoing]:
        sent: list[Outgoing] = []
        durable = 0
        for sizes, arrived in lives:
            async for checkpoint, last in checkpoints(SummariseEvents(wired(MODELS), source=0, start=durable), log, sizes):
                if last:
                    sent += checkpoint.outgoing[:arrived]
                    break
                sent += await make_durable(checkpoint)
                durable = max(durable, checkpoint.durable or 0)
        stage = SummariseEvents(wired(MODELS), source=0, start=durable)
        return sent + await make_durable(stage.checkpoint(await feed(stage, log), final=True))

    assert rows_in(asyncio.run(run())) == wanted(log)


def test_rows_wait_until_they_are_many_or_have_waited_long_or_the_partition_goes() -> None:
    """Few rows make no record before five seconds are over; until then the durable offset stands at the first of them."""
    clock = HandClock()
    rows, decoding = pending(clock), Decoding(MODELS)

    def fed(first: int, count: int) -> None:
        batch = batch_of(log_of([prediction(first + number) for number in range(count)], first=first))
        rows.add(decoding.decode(batch.offsets, batch.timestamps, batch.values), first)

    fed(10, 5)
    clock.now = 4.9
    fed(15, 5)
    assert (rows.take(final=False), rows.durable(20), len(rows)) == ([], 10, 10)
    clock.now = 5.0
    assert len(rows_in(rows.take(final=False))) == 10
    assert (rows.durable(20), len(rows)) == (20, 0)
    fed(20, 999)
    assert rows.take(final=False) == []
    fed(1019, 1)
    assert len(rows_in(rows.take(final=False))) == 1000
    fed(1020, 1)
    assert len(rows_in(rows.take(final=True))) == 1


def test_names_that_never_come_again_do_not_fill_a_record_with_gaps() -> None:
    """Predictions with names of their own take memory for their values, not for rows times names."""
    values = [prediction(number, features={f"{number}-{place}": 0.5 for place in range(50)}) for number in range(400)]
    log = log_of(values)
    stage = SummariseEvents(wired({"m": replace(MODELS["m"], max_features=50)}), source=0, start=0)
    messages = asyncio.run(make_durable(stage.checkpoint(asyncio.run(feed(stage, log, [100] * 4)), final=True)))
    records = [parse(message.value) for message in messages if message.topic == "t.rows"]
    assert sum(len(rows) for rows in records) == 400
    assert sum(len(rows) * len(rows.columns) for rows in records) < 16 * 50 * 400


# -- a sample of each day -----------------------------------------------------------------------------


def kept(sample: DailySample, day: int, ids: Sequence[str], *, size: int = 100) -> list[str]:
    """Return which ids of one day are kept, fed in pieces."""
    found: list[str] = []
    for low in range(0, len(ids), size):
        piece = ids[low : low + size]
        found += [piece[place] for place in sample.keep(np.full(len(piece), day * 86_400.0 + low), piece)]
    return found


def test_a_day_keeps_about_its_number_and_never_twice_as_many() -> None:
    """The first day of many predictions stays below twice the number; later days lie between a half of it and all of it."""
    sample = DailySample(1000)
    days = [len(kept(sample, day, [f"{day}-{number}" for number in range(20_000)])) for day in range(5)]
    assert 1000 <= days[0] <= 2000
    assert all(450 <= count <= 1100 for count in days[1:])
    assert kept(DailySample(1000), 0, list("abc")) == list("abc")


def test_an_id_that_is_kept_at_one_level_is_kept_at_every_lower_one() -> None:
    """On days of equal traffic the same ids are in, and with half the number the ids are among those."""
    ids = [str(number) for number in range(4096)]
    found: list[set[str]] = []
    for most in (1024, 512):
        sample = DailySample(most)
        kept(sample, 0, ids)
        second, third = set(kept(sample, 1, ids)), set(kept(sample, 2, ids))
        assert len(second ^ third) < 100
        found.append(third)
    assert len(found[1] - found[0]) < 50


def test_the_level_falls_on_a_quiet_day() -> None:
    """After a day of few predictions the next day begins with all of them."""
    sample = DailySample(100)
    kept(sample, 0, [str(number) for number in range(10_000)])
    kept(sample, 1, [str(number) for number in range(50)])
    assert len(kept(sample, 2, [str(number) for number in range(90)])) == 90


def test_a_fetch_may_span_days_and_late_events_belong_to_the_newest() -> None:
    """Event time moves the day on within a fetch, and an older event does not move it back."""
    sample = DailySample(10)
    ts = np.repeat([0.0, 86_400.0, 0.0, 172_800.0], 10)
    assert len(sample.keep(ts, [str(number) for number in range(40)])) <= 10 + 20 + 20


def test_the_number_is_for_the_deployment() -> None:
    """Each of four partitions keeps a quarter."""
    models = {"m": replace(MODELS["m"], retrain=RetrainSpec(rows_per_day=400))}
    rows = pending(HandClock(), models, sources=4)
    batch = batch_of(log_of([orjson.dumps(prediction(number)) for number in range(5_000)]))
    rows.add(_decoded(batch, models), 0)
    assert 100 <= len(rows) <= 200


def _decoded(batch: Batch, models: dict[str, ModelSpec]) -> Any:
    return Decoding(models).decode(batch.offsets, batch.timestamps, batch.values)
