"""The join stage: which outcomes come out depends on the log alone, whatever crashes in between."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from detectors.pairing import partition as pairing_partition
from detectors.spec import ModelSpec, OutcomeSpec
from streams.events.event import outcome_tick
from streams.kafka import Record
from streams.records.join_chunks import BEGIN, decode, decode_begin
from streams.records.outcomes import Outcome, OutcomeColumns, PredictionValue, SourceOffset, error_of, parse
from streams.settings import RedisSettings, Secret
from streams.stages.join import Join
from streams.state.store import Store
from tests.support.joins import PARTITION, Joins, pending, put_halves, put_pending
from tests.support.records import NOW, Fetched, batch_of, feed, log_of
from tests.support.records import decode as events_of

pytestmark = pytest.mark.fast

WITHIN = 100.0
MODELS = {name: ModelSpec(name, outcomes=OutcomeSpec(label_within_seconds=WITHIN)) for name in ("m", "n")}


def prediction(identity: str | None, at: float = 0.0, *, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return a prediction whose event time is `at` seconds after NOW's day before."""
    known = {} if identity is None else {"id": identity}
    return {"model": model, "ts": NOW - 5000 + at, "features": {"x": at}, "prediction": True, **known, **fields}


def truth(identity: Any, at: float = 10.0, *, model: str = "m", label: Any = False, **fields: Any) -> dict[str, Any]:
    """Return a label that comes `at` seconds after that."""
    return {"type": "label", "model": model, "id": identity, "ts": NOW - 5000 + at, "label": label, **fields}


async def joined(joins: Joins, events: Sequence[Any], sizes: Sequence[int] = ()) -> list[Outcome]:
    """Return the outcomes of a log that is read once, without trouble."""
    stage = await joins.begin()
    position = await feed(stage, log_of(events, partition=PARTITION), sizes)
    return await joins.flush(stage.checkpoint(position, final=True))


async def test_a_pair_is_an_outcome_with_everything_about_it() -> None:
    """An outcome has the prediction's segment and version, the label's truth and time, and the later offset; no features."""
    full = prediction("a", segment="eu", model_version="7", prediction={"label": "spam", "score": 0.9})
    assert await joined(Joins(MODELS), [full, truth("a", label="ham")]) == [
        Outcome(
            id="a",
            model="m",
            segment="eu",
            ts=NOW - 4990,
            predicted_at=NOW - 5000,
            model_version="7",
            prediction=PredictionValue("spam", 0.9),
            label="ham",
            source=SourceOffset(PARTITION, 1),
            at=0,
        )
    ]


async def test_what_else_is_known_of_a_prediction_comes_with_its_outcome() -> None:
    """Clients of both halves, entity, probabilities and groups, these from tags first, come out; also after a restart."""
    models = {"m": replace(MODELS["m"], groups=("country", "channel", "nowhere"))}
    full = prediction(
        "a",
        client="shop",
        entity="card-1",
        prediction={"label": True, "score": 0.9, "probabilities": {"true": 0.9, "false": 0.1}},
        features={"country": "NO", "channel": "app", "x": 1.0},
        tags={"channel": "web"},
    )
    joins = Joins(models)
    log = log_of([full, prediction("b"), truth("a", client="lab"), truth("b")], partition=PARTITION)
    first = await joins.begin()
    await joins.flush(first.checkpoint(await feed(first, log[:2]), final=True))
    second = await joins.begin()
    one, other = await joins.flush(second.checkpoint(await feed(second, log), final=True))
    assert (one.client, one.label_client, one.entity) == ("shop", "lab", "card-1")
    assert one.probabilities == {"true": 0.9, "false": 0.1}
    assert one.groups == {"country": "NO", "channel": "web"}
    assert (other.client, other.label_client, other.entity, other.probabilities, other.groups) == (None,) * 5


async def test_outcomes_of_a_fetch_are_one_record_of_their_partition() -> None:
    """The message names its partition, its key is the model: sources of one partition stay in order."""
    stage = await Joins(MODELS).begin()
    position = await feed(stage, log_of([prediction("a"), prediction("b"), truth("a"), truth("b")], partition=PARTITION))
    checkpoint = stage.checkpoint(position, final=True)
    assert checkpoint is not None
    (message,) = checkpoint.outgoing
    assert (message.topic, message.key, message.partition) == ("t.outcomes", b"m", PARTITION)
    found = parse(message.value)
    assert isinstance(found, OutcomeColumns)
    assert (found.id, found.source, found.at) == (["a", "b"], [2, 3], [0, 1])
    assert checkpoint.durable == 4


async def test_outcomes_may_be_records_of_their_own() -> None:
    """With `format = "rows"` each outcome is a record with the id as its key, and says the same."""
    log = [prediction("a"), prediction("b", segment="eu"), truth("a"), truth("b"), truth("b", 11.0, label=True)]
    columns, rows = Joins(MODELS), Joins(MODELS, form="rows")
    assert await joined(rows, log) == await joined(columns, log)
    assert [message.key for message in rows.topic] == [b"a", b"b", b"b"]
    assert all(isinstance(parse(message.value), Outcome) for message in rows.topic)


async def test_a_label_may_come_first() -> None:
    """A label that overtook its prediction is joined all the same, at the prediction's offset; the newest one counts."""
    (found,) = await joined(Joins(MODELS), [truth("a", label=True), truth("a", 11.0), prediction("a")])
    assert (found.label, found.source.offset, found.at, found.ts) == (False, 2, 2, NOW - 4989)


async def test_the_first_prediction_and_the_newest_label_count() -> None:
    """Repeated predictions change nothing; an equal label says nothing, and another one corrects the label before."""
    joins = Joins(MODELS)
    log = [
        prediction("a", 1.0),
        prediction("a", 2.0, segment="other"),
        truth("a", 10.0, label=True),
        truth("a", 11.0, label=True),
        truth("a", 12.0, label=1),
        prediction("a", 3.0),
        truth("a", 13.0, label=None),
        truth("a", 14.0, label="1"),
    ]
    found = await joined(joins, log)
    assert [(one.label, one.corrects, one.was, one.source.offset, one.segment) for one in found] == [
        (True, False, None, 2, ""),
        (1, True, True, 4, ""),
        (None, True, 1, 6, ""),
        ("1", True, None, 7, ""),
    ]
    assert [type(one.label) for one in found] == [bool, int, type(None), str]
    assert [joins.counted(result) for result in ("joined", "corrected", "duplicate", "repeated")] == [1, 3, 1, 2]


async def test_a_null_label_closes_a_prediction() -> None:
    """It is counted and makes no outcome; a label that comes all the same corrects it."""
    joins = Joins(MODELS)
    (found,) = await joined(joins, [prediction("a"), prediction("b"), truth("a", label=None), truth("b", label=None), truth("a")])
    assert (found.id, found.label, found.corrects, found.was) == ("a", False, True, None)
    assert (joins.counted("none"), joins.counted("corrected"), joins.counted("joined")) == (2, 1, 0)


async def test_a_label_in_time_is_joined_and_a_later_one_is_counted() -> None:
    """`label_within` after the prediction is in time to the second, and later is too late."""
    joins = Joins(MODELS)
    found = await joined(joins, [prediction("a"), prediction("b"), truth("a", WITHIN), truth("b", WITHIN + 0.001)])
    assert [one.id for one in found] == ["a"]
    assert joins.counted("too_late") == 1


async def test_an_id_may_be_used_again_after_its_time() -> None:
    """A prediction more than `label_within` after the first of its id takes its place."""
    found = await joined(Joins(MODELS), [prediction("a"), prediction("a", WITHIN + 1, segment="new"), truth("a", WITHIN + 2)])
    assert [(one.segment, one.at) for one in found] == [("new", 1)]


async def test_what_cannot_be_joined_waits_or_is_passed_over() -> None:
    """Predictions without an id, feature-only events and labels of other models join nothing."""
    log = [prediction(None), {"model": "m", "id": "a", "features": {"x": 1}}, truth("a"), prediction("b"), truth("b", model="n")]
    stage = await Joins(MODELS).begin()
    await feed(stage, log_of(log, partition=PARTITION))
    assert {model: (pairs.waiting.count, pairs.early.count) for model, pairs in stage.pairs.items()} == {"m": (1, 1), "n": (0, 1)}
    assert len(stage.outbox) == 0


async def test_ids_that_look_alike_stay_apart() -> None:
    """Ids with separators, other scripts or the names of halves meet only themselves; 7 and "7" are the same."""
    ids = ["l:a", "p:l:a", "a", "é", "日本", "a\x00b", "a\nb", ":", "*", "7"]
    log = [prediction(name) for name in ids] + [truth(name, label=name) for name in ids]
    log += [prediction("8"), truth(8)]
    found = await joined(Joins(MODELS), log)
    assert [(one.id, one.label) for one in found] == [(name, name) for name in ids] + [("8", False)]


async def test_a_foreign_label_is_told_with_an_example(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that nobody waited for is counted when it expires, and a line in the log names an id, once for a while."""
    joins = _looking_often(monkeypatch, 4)
    late = [prediction(f"p{number}", 50.0 * number) for number in range(40)]
    log = [truth("stranger"), truth("other stranger"), *late]
    records = [
        replace(record, timestamp=record.timestamp + 50_000 * place) for place, record in enumerate(log_of(log, partition=2))
    ]
    stage = await joins.begin()
    with caplog.at_level(logging.WARNING, "driftline.worker"):
        await feed(stage, records, [1] * len(records))
    assert joins.counted("foreign") == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "m: no prediction came for the label of id stranger in partition 2 of events" in line
    assert stage.pairs["m"].early.count == 0


async def test_beyond_the_bound_a_sample_is_joined_and_says_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes carry the part of the ids that was kept; labels beyond it are counted, and a restart keeps the same sample."""
    joins = _looking_often(monkeypatch, 16, most_bytes=4 * 80 * 100)
    log = [prediction(f"i{number}") for number in range(1000)] + [truth(f"i{number}") for number in range(1000)]
    records = log_of(log, partition=PARTITION)
    whole = await joined(joins, log)
    assert {one.share for one in whole} <= {0.5**level for level in range(2, 7)}
    assert 0 < len(whole) < 200
    assert joins.counted("sampled_out") + len(whole) == pytest.approx(1000, abs=300)
    again = _looking_often(monkeypatch, 16, most_bytes=4 * 80 * 100)
    for start in range(0, 2000, 130):
        stage = await again.begin()
        await again.flush(stage.checkpoint(await feed(stage, records[: start + 130]), final=True))
    assert again.outcomes() == whole


def _looking_often(monkeypatch: pytest.MonkeyPatch, every: int, **options: Any) -> Joins:
    """Return joins whose looks are so many offsets apart."""
    original = pairing_partition.PartitionPairs.__init__

    def often(self: Any, within: Any, *, most_bytes: int, look_every: int = every) -> None:
        original(self, within, most_bytes=most_bytes, look_every=every)

    monkeypatch.setattr(pairing_partition.PartitionPairs, "__init__", often)
    return Joins(MODELS, **options)


async def test_a_tick_for_outcomes_keeps_its_place() -> None:
    """It is passed on behind the outcomes of what stood before it, and before those of what came after."""
    ticked = orjson.loads(outcome_tick("m", NOW))
    events = [prediction("a"), truth("a"), ticked, prediction("b"), truth("b"), ticked]
    for form in ("columns", "rows"):
        joins = Joins(MODELS, form=form)  # type: ignore[arg-type]
        await joined(joins, events)
        told = [parse(message.value) for message in joins.topic]
        ids = [one.id if isinstance(one, (Outcome, OutcomeColumns)) else one.source for one in told]
        assert ids == ([["a"], 2, ["b"], 5] if form == "columns" else ["a", 2, "b", 5])


# -- the log of the join ---------------------------------------------------------------------------


async def test_what_waits_is_in_the_log_for_a_later_run() -> None:
    """A prediction made durable by one worker is joined by the next one with its label."""
    joins = Joins(MODELS)
    log = log_of([prediction("a"), truth("a")], partition=PARTITION)
    first = await joins.begin()
    await joins.flush(first.checkpoint(await feed(first, log[:1]), final=True))
    second = await joins.begin()
    assert second.start == 1
    assert [one.id for one in await joins.flush(second.checkpoint(await feed(second, log), final=True))] == ["a"]


async def test_a_log_begins_with_its_beginning() -> None:
    """The first flush says from where on the log has everything; once a day it is said again, and nothing else has changed."""
    joins = Joins(MODELS, committed=None)
    now = [0.0]
    stage = await joins.begin(first=7)
    stage._clock = lambda: now[0]
    await joins.flush(stage.checkpoint(7, final=False))
    assert [record.key for record in joins.log] == [BEGIN]
    assert decode_begin(joins.log[0].value or b"").start == 7
    now[0] = 86_000.0
    assert stage.checkpoint(7, final=False) is None
    now[0] = 200_000.0
    await joins.flush(stage.checkpoint(7, final=False))
    assert [record.value for record in joins.log] == [joins.log[0].value] * 2
    again = (await joins.begin(first=7)).checkpoint(7, final=True)
    assert again is not None
    assert (again.durable, again.outgoing, again.state) == (7, [], [])


async def test_chunks_are_written_when_there_are_many_records_or_some_are_old_or_the_partition_goes() -> None:
    """Until then outcomes go out and the durable offset stands: a crash repeats outcomes."""
    joins = Joins(MODELS)
    now = [0.0]
    stage = await joins.begin()
    stage._clock = lambda: now[0]
    await joins.flush(stage.checkpoint(0, final=False))
    log = log_of([prediction("a"), truth("a"), *(prediction(f"i{number}") for number in range(1500))], partition=PARTITION)
    await stage.feed(batch_of(log[:2]), 0)
    checkpoint = stage.checkpoint(2, final=False)
    assert checkpoint is not None
    assert (len(checkpoint.outgoing), checkpoint.state, checkpoint.durable) == (1, [], 0)
    now[0] = 29.0
    assert stage.checkpoint(2, final=False) is None
    now[0] = 31.0
    old = stage.checkpoint(2, final=False)
    assert old is not None
    assert (len(old.state), old.durable) == (1, 2)
    await stage.feed(batch_of(log[2:900]), 2)
    assert stage.checkpoint(900, final=False) is None
    last = stage.checkpoint(900, final=True)
    assert last is not None
    assert (len(last.state), last.durable) == (1, 900)
    await stage.feed(batch_of(log[900:]), 900)
    assert stage.checkpoint(1502, final=False) is None
    await stage.feed(batch_of(log_of([prediction(f"j{n}") for n in range(400)], partition=PARTITION, first=1502)), 1502)
    many = stage.checkpoint(1902, final=False)
    assert many is not None
    assert [(chunk.stretch.start, chunk.stretch.end) for chunk in (decode(one.value or b"") for one in many.state)] == [
        (900, 1902)
    ]


async def test_records_without_an_id_make_no_chunk() -> None:
    """The durable offset follows a partition in which nothing is to be joined."""
    joins = Joins(MODELS)
    stage = await joins.begin()
    await joins.flush(stage.checkpoint(0, final=True))
    position = await feed(stage, log_of([prediction(None)] * 3, partition=PARTITION))
    await joins.flush(stage.checkpoint(position, final=False))
    assert len(joins.log) == 1
    assert stage.checkpoint(position, final=True) is None or joins.committed == 3


async def test_chunks_whose_rows_have_expired_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without a value under the key of a chunk follows once everything in it is over, and a start needs it no more."""
    joins = _looking_often(monkeypatch, 4)
    records = [
        replace(record, timestamp=record.timestamp + 50_000 * place)
        for place, record in enumerate(log_of([prediction(f"i{n}", 50.0 * n) for n in range(60)], partition=PARTITION))
    ]
    for end in range(10, 61, 10):
        stage = await joins.begin()
        await joins.flush(stage.checkpoint(await feed(stage, records[:end]), final=True))
    deleted = [record.key for record in joins.log if record.value is None]
    assert deleted[:2] == [b"m|0|10|0|10", b"m|10|20|10|20"]
    alive = {int(offset) for offset in stage.pairs["m"].waiting.rows["offset"] if offset >= stage.pairs["m"].bounds.floor}
    joins.compact()
    again = await joins.begin()
    assert again.start == 60
    floor = again.pairs["m"].bounds.floor
    assert {int(offset) for offset in again.pairs["m"].waiting.rows["offset"] if offset >= floor} == alive
    assert floor == stage.pairs["m"].bounds.floor


async def test_a_lost_log_lets_the_join_read_the_events_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is empty although an offset is committed, as when its topic was created again: outcomes are repeats, none is missing."""
    joins = Joins(MODELS)
    log = log_of([prediction("a"), prediction("b"), truth("a"), truth("b")], partition=PARTITION)
    first = await joins.begin()
    await joins.flush(first.checkpoint(await feed(first, log[:3]), final=True))
    joins.log.clear()
    joins.store = _Nothing()
    with caplog.at_level(logging.WARNING, "driftline.worker"):
        second = await joins.begin()
    assert second.start == 0
    assert "t.join/2 has no log of the join, so the join reads the events again from offset 0 on" in caplog.text
    await joins.flush(second.checkpoint(await feed(second, log), final=True))
    assert [one.id for one in joins.outcomes()] == ["a", "b"]
    assert (await joins.begin()).start == 4


async def test_a_chunk_that_nobody_wrote_takes_nothing_away(caplog: pytest.LogCaptureFixture) -> None:
    """A record that names a chunk beyond the events is left out: the join goes on where it was, and no loss is counted."""
    joins = Joins(MODELS)
    log = log_of([prediction("a"), prediction("b"), truth("a"), truth("b")], partition=PARTITION)
    stage = await joins.begin()
    await joins.flush(stage.checkpoint(await feed(stage, log[:3]), final=True))
    joins.log.append(Record("t.join", PARTITION, 9, 0.0, b"m|0|999|0|999", b"garbage", (("part", b"0|1"),)))
    with caplog.at_level(logging.WARNING, "driftline.worker"):
        again = await joins.begin(end=len(log))
    assert again.start == 3
    assert "1 chunks of the join reach beyond offset 4" in caplog.text
    assert "lacks what was taken" not in caplog.text
    assert joins.metrics.registry.get_sample_value("driftline_records_lost_total", {"topic": "t.events"}) is None
    assert [one.id for one in await joins.flush(again.checkpoint(await feed(again, log), final=True))] == ["b"]


async def test_the_last_chunk_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """Its events are read again, although they are committed, so nothing of them is missing."""
    joins = Joins(MODELS)
    log = log_of([prediction("a"), prediction("b"), truth("a"), truth("b")], partition=PARTITION)
    for end in (1, 3):
        stage = await joins.begin()
        await joins.flush(stage.checkpoint(await feed(stage, log[:end]), final=True))
    last = next(place for place in range(len(joins.log) - 1, -1, -1) if (joins.log[place].key or b"").startswith(b"m|"))
    joins.log[last] = replace(joins.log[last], value=b"garbage")
    with caplog.at_level(logging.WARNING, "driftline.worker"):
        again = await joins.begin(end=len(log))
    assert again.start == 1
    assert "the join reads the events again from offset 1 on" in caplog.text
    await joins.flush(again.checkpoint(await feed(again, log), final=True))
    assert [one.id for one in joins.outcomes()] == ["a", "b"]


class _Nothing(Store):
    """A Redis in which nothing waits."""

    def __init__(self) -> None:
        super().__init__(RedisSettings(url="redis://127.0.0.1:1"), Secret(b"asked for by nobody"))

    def pending(self, _partition: int) -> Any:
        """Yield nothing."""
        return iter(())


async def test_a_log_without_its_beginning_chunks_is_made_again_from_the_events(caplog: pytest.LogCaptureFixture) -> None:
    """A hole in the log, of whole flushes or of one model's chunk, is read again from the events, as far as these are kept."""
    log = log_of(
        [prediction("a"), prediction("a", model="n"), prediction("b"), truth("a"), truth("a", model="n"), truth("b")],
        partition=PARTITION,
    )
    for lost in ((b"m|0|2",), (b"m|0|2", b"n|0|2"), (b"n|0|2",)):
        joins = Joins(MODELS, store=_Nothing())
        for end in (2, 3):
            stage = await joins.begin()
            await joins.flush(stage.checkpoint(await feed(stage, log[:end]), final=True))
        stage = await joins.begin()
        await joins.flush(
            stage.checkpoint(await feed(stage, log_of([prediction("c", model="n")], partition=2, first=3)), final=True)
        )
        joins.log = [record for record in joins.log if not (record.key or b"").startswith(lost)]
        caplog.clear()
        again = await joins.begin()
        assert again.start == 0, lost
        assert "lacks what was taken from offset 0 of events on: the join reads the events again from offset 0 on" in caplog.text
        gone = await joins.begin(first=2)
        assert gone.start >= 3
        assert "the events are gone" in caplog.text
    # Nothing is said of a log that is whole.
    caplog.clear()
    joins = Joins(MODELS)
    stage = await joins.begin()
    await joins.flush(stage.checkpoint(await feed(stage, log), final=True))
    await joins.begin()
    assert not caplog.records


async def test_chunks_of_another_seed_are_left_out(signing_key: Secret) -> None:
    """The seed of the hash stands in the chunks and stays, whatever the signing key becomes."""
    joins = Joins(MODELS)
    log = log_of([prediction("a"), truth("a")], partition=PARTITION)
    first = await joins.begin()
    await joins.flush(first.checkpoint(await feed(first, log[:1]), final=True))
    joins.store = Store(RedisSettings(url="redis://127.0.0.1:1"), signing_key)
    second = await joins.begin()
    assert [one.id for one in await joins.flush(second.checkpoint(await feed(second, log), final=True))] == ["a"]
    assert len({decode(record.value or b"").seed for record in joins.log if record.key != BEGIN}) == 1


async def test_nothing_new_is_nothing_to_do() -> None:
    """A stage that has read nothing since its last cut has nothing to flush."""
    joins = Joins(MODELS)
    stage = await joins.begin()
    await joins.flush(stage.checkpoint(0, final=True))
    assert stage.checkpoint(0, final=True) is None
    position = await feed(stage, log_of([prediction("a")], partition=PARTITION))
    await joins.flush(stage.checkpoint(position, final=True))
    assert stage.checkpoint(position, final=True) is None


# -- crashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(3))
def test_outcomes_are_the_same_whatever_crashes(part: int) -> None:
    """After any crashes, of two owners as well, dropping repeats leaves the outcomes of a run without trouble."""
    for number in range(part, 90, 3):
        draw = random.Random(number)
        values = [_random_event(draw) for _ in range(draw.randint(2, 40))]
        log = log_of(values, partition=PARTITION)
        calm = Joins(MODELS)
        asyncio.run(joined(calm, values))
        joins = Joins(MODELS)
        asyncio.run(_survive(joins, log, draw))
        assert joins.outcomes() == calm.outcomes(), number


def _random_event(draw: random.Random) -> dict[str, Any]:
    identity, at, model = draw.choice("abcd"), draw.choice((0.0, 50.0, 99.0, 200.0)), draw.choice("mn")
    if draw.random() < 0.5:
        return prediction(identity, at, model=model, features={"at": draw.random()}, segment=draw.choice(("", "eu")))
    if draw.random() < 0.1:
        return orjson.loads(outcome_tick(model, NOW))
    return truth(identity, at, model=model, label=draw.choice((True, 1, "x", None)))


async def _survive(joins: Joins, log: list[Fetched], draw: random.Random) -> None:
    owners: list[tuple[Join, int]] = []
    while True:
        if not owners or (len(owners) < 2 and draw.random() < 0.2):
            stage = await joins.begin()
            owners.append((stage, stage.start))
        stage, position = owners.pop(draw.randrange(len(owners)))
        records = log[position : position + draw.randint(1, 6)]
        if records:
            await stage.feed(batch_of(records), position)
            position += len(records)
        if draw.random() < 0.5 or not records:
            sent = draw.randint(0, 4) if draw.random() < 0.3 else 1 << 40
            await joins.flush(stage.checkpoint(position, final=draw.random() < 0.7 or not records), sent=sent)
            if sent < 1 << 40:
                continue  # killed
            if not records:
                return
        if draw.random() < 0.1:
            joins.compact()
        if draw.random() > 0.1:
            owners.append((stage, position))


# -- from versions before 0.2 ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("killed", [None, (0, 3), (1, 3), (2, 3), (1 << 40, 1), (1 << 40, 2)])
@pytest.mark.parametrize("fed", [False, True])
async def test_halves_in_redis_are_taken_over(
    redis_settings: RedisSettings, signing_key: Secret, killed: tuple[int, int] | None, *, fed: bool
) -> None:
    """Halves from before the committed offset are in the log before they leave Redis, whatever is killed; then none is asked."""
    values = [
        prediction("a", segment="eu", model_version="3", prediction={"label": "x", "score": 0.5}),
        truth("early", label="y"),
        prediction("joined"),
        truth("joined"),
        prediction("b"),  # of a run that crashed further on
        truth("a", label="z"),
        prediction("early"),
        truth("b"),
    ]
    log = log_of(values, partition=PARTITION)
    parsed, _ = events_of(log, MODELS)
    halves = [(record, None if event.id == "joined" else event) for record, event in zip(log[:5], parsed, strict=False)]
    put_halves(redis_settings, PARTITION, halves)
    put_pending(redis_settings, "m:22", [("p:a", b"another partition"), (f"p:x:{PARTITION}:p:y", b"another partition")])
    joins = Joins(MODELS, store=Store(redis_settings, signing_key), committed=4)
    if killed is not None:
        stage = await joins.begin()
        position = await feed(stage, log[:6]) if fed else stage.start
        await joins.flush(stage.checkpoint(position, final=False), sent=killed[0], steps=killed[1])
    stage = await joins.begin()
    position = await feed(stage, log[:6]) if fed else stage.start
    await joins.flush(stage.checkpoint(position, final=False))
    assert set(pending(redis_settings)) == {"m:22:p:a", f"m:22:p:x:{PARTITION}:p:y"}
    await joins.flush(stage.checkpoint(position, final=False))
    joins.store = Store(RedisSettings(url="redis://127.0.0.1:1"), signing_key)
    last = await joins.begin()
    await joins.flush(last.checkpoint(await feed(last, log), final=True))
    assert [(one.id, one.segment, one.model_version, one.prediction.label, one.label) for one in joins.outcomes()] == [
        ("a", "eu", "3", "x", "z"),
        ("early", "", None, True, "y"),
        ("b", "", None, True, False),
    ]


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
    outcome = Outcome(
        id="a",
        model="m",
        ts=1.0,
        predicted_at=0.0,
        prediction=PredictionValue(label, score),
        label=known,
        source=SourceOffset(0, 1),
    )
    assert error_of(outcome) == error
