"""Training rows: from the change point on, each prediction once, with its newest label, in order, bounded, made again."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest

from detectors.errors import StateError
from retrainer.training import Outcomes, made_again, training_rows
from retrainer.training_set import TrainingEnds, TrainingSet, TrainingTopics
from streams.kafka import Log, Outgoing, Sender
from streams.records.outcomes import Outcome
from streams.records.swap_event import Lineage
from streams.settings import KafkaSettings, Settings
from tests.support.training import outcome, outcome_messages, rows_messages

pytestmark = pytest.mark.kafka

Write = Callable[[list[Outgoing]], Awaitable[None]]


@pytest.fixture
def kafka(settings: Settings) -> KafkaSettings:
    """The topics of this test."""
    return settings.kafka


@pytest.fixture
def topics(kafka: KafkaSettings) -> TrainingTopics:
    """The names of the two topics that rows come from."""
    return TrainingTopics.of(kafka.prefix)


@pytest.fixture
async def write(kafka: KafkaSettings) -> Any:
    """A function that appends messages and waits for the acknowledgements."""
    sender = Sender(kafka, "test")
    yield sender.send_all
    sender.close()


@pytest.fixture
def log(kafka: KafkaSettings) -> Iterator[Log]:
    """A reader."""
    reader = Log(kafka, "test")
    yield reader
    reader.close()


def version_1(model: str, at: float, source: tuple[int, int], *, label: Any = True) -> dict[str, Any]:
    """Return an outcome as Driftline 0.1.0 wrote it."""
    return {
        "v": 1,
        "type": "outcome",
        "id": f"{model}-{source[0]}-{source[1]}",
        "model": model,
        "segment": "",
        "ts": at + 60,
        "predicted_at": at,
        "model_version": None,
        "features": {"x": at, "n": 3},
        "prediction": {"label": True, "score": 0.5},
        "label": label,
        "source": {"partition": source[0], "offset": source[1]},
    }


def features(kafka: KafkaSettings, offsets: Any, *, partition: int = 0, model: str = "m") -> list[Outgoing]:
    """Return the rows of predictions whose feature x is their offset."""
    return rows_messages(kafka, model, partition, {at: {"x": float(at), "n": at} for at in offsets})


def times(found: TrainingSet) -> list[float]:
    """Return when the rows were predicted."""
    return [row.predicted_at for row in found.rows]


def read(outcomes: Outcomes, log: Log, topics: TrainingTopics) -> TrainingSet:
    """Return the rows after reading all that is there."""
    ends = TrainingEnds.of(log, topics)
    outcomes.advance(ends)
    outcomes.find_features(ends)
    return outcomes.training_set()


async def test_rows_from_the_change_point_come_in_order_whatever_partition_they_are_in(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """Rows of all partitions are one series by prediction time; older ones, other models and empty partitions are left out."""
    for partition in (0, 2):
        own = range(partition // 2, 100, 2)
        await write(features(kafka, own, partition=partition))
        await write(outcome_messages(kafka, [outcome("m", float(t), t, partition=partition) for t in own], fetch=7))
    await write(features(kafka, [500], partition=2, model="other"))
    await write(outcome_messages(kafka, [outcome("other", 99.0, 500, partition=2)]))
    found = training_rows(log, topics, "m", 40.0)
    assert times(found) == [float(t) for t in range(40, 100)]
    assert [row.features for row in found.rows] == [{"n": t, "x": float(t)} for t in range(40, 100)]
    assert {type(row.features["n"]) for row in found.rows} == {int}
    assert [(row.partition, row.at) for row in found.rows] == [(t % 2 * 2, t) for t in range(40, 100)]


@pytest.mark.parametrize("order", ["in order", "customer by customer", "newer half first", "random", "1 % a month late"])
async def test_all_rows_are_found_in_whatever_order_labels_come(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics, order: str
) -> None:
    """Outcomes are appended in the order of their labels, and none predicted since the change point is passed over."""
    draw = random.Random(1)
    began_at = time.time() - 1000.0
    offsets = list(range(4000))
    if order == "customer by customer":
        offsets.sort(key=lambda at: (at % 50, at))
    elif order == "newer half first":
        offsets = offsets[2000:] + offsets[:2000]
    elif order == "random":
        draw.shuffle(offsets)
    elif order == "1 % a month late":
        offsets.sort(key=lambda at: (draw.random() < 0.01, at))
    await write(features(kafka, range(4000)))
    told = [outcome("m", began_at - 1000 + at, at, source=10_000 + n) for n, at in enumerate(offsets)]
    await write(outcome_messages(kafka, told, fetch=100))
    found = training_rows(log, topics, "m", began_at)
    assert [row.at for row in found.rows] == list(range(1000, 4000))
    assert found.missing == 0


async def test_what_was_appended_long_before_the_change_point_is_not_read(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """Reading starts where the broker's clock stood shortly before the change point, in both topics."""
    await write([*features(kafka, range(10)), *outcome_messages(kafka, [outcome("m", float(t), t) for t in range(10)])])
    for topic in (topics.outcomes, topics.rows):
        assert log.appended_since(topic, time.time() + 3600)[0] == log.ends(topic)[0][1]
        assert log.appended_since(topic, time.time() - 3600)[0] == 0


async def test_the_clock_of_a_sender_decides_nothing(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """A topic of an older deployment, whose records have the time of their sender, is read from its beginning."""
    old = f"{kafka.prefix}.alerts"  # has CreateTime, and so outcomes of 0.1.0 had
    await write([Outgoing(old, None, b"{}", (), 0) for _ in range(3)])
    assert log.appended_since(old, time.time() + 3600) == {0: 0}
    assert log.offsets_at(old, time.time() + 3600) == {0: 3}
    assert log.appended_since(topics.outcomes, -1e9) == dict.fromkeys(range(4), 0)


async def test_repeats_are_dropped(kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics) -> None:
    """Outcomes and rows that a restart wrote again, in other records, count once."""
    told = [outcome("m", float(t), t, partition=1, source=100 + t) for t in range(10)]
    await write(
        outcome_messages(kafka, told, fetch=4) + outcome_messages(kafka, told[4:]) + outcome_messages(kafka, told[2:], fetch=3)
    )
    for first, last in ((0, 4), (0, 10), (3, 8)):
        await write(features(kafka, range(first, last), partition=1))
    await write(features(kafka, [3], partition=3) + outcome_messages(kafka, [outcome("m", 3.0, 3, partition=3)]))
    found = training_rows(log, topics, "m", 0.0)
    assert [(row.partition, row.at) for row in found.rows] == sorted(
        [*((1, t) for t in range(10)), (3, 3)], key=lambda key: (key[1], key[0])
    )


async def test_the_newest_label_counts_and_null_takes_a_row_out(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """A correction replaces the label of its prediction, and repeats of older labels do not bring them back."""
    first = [outcome("m", float(t), t, source=10 + t, label="old") for t in range(4)]
    corrections = [
        outcome("m", 1.0, 1, source=20, label="new", corrects=True),
        outcome("m", 2.0, 2, source=21, label=None, corrects=True),
        outcome("m", 3.0, 3, source=22, label=None, corrects=True),
        outcome("m", 3.0, 3, source=23, label="again", corrects=True),
    ]
    await write(features(kafka, range(4)))
    await write(outcome_messages(kafka, first) + outcome_messages(kafka, corrections, fetch=10) + outcome_messages(kafka, first))
    outcomes = Outcomes(log, topics, "m", 0.0, max_rows=100)
    assert [(row.at, row.label) for row in read(outcomes, log, topics).rows] == [(0, "old"), (1, "new"), (3, "again")]
    assert (outcomes.labelled, len(outcomes)) == (3, 3)


async def test_records_that_cannot_be_read_are_left_out(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """Garbage on either topic stops nothing."""
    garbage: list[bytes | None] = [b"garbage", b"\xff\xfe", b"{}", b'{"model": 3}', None]
    await write([Outgoing(topic, None, value, (), 0) for topic in (topics.outcomes, topics.rows) for value in garbage])
    await write(features(kafka, [1, 2]) + outcome_messages(kafka, [outcome("m", 1.0, 1, label=None), outcome("m", 2.0, 2)]))
    outcomes = Outcomes(log, topics, "m", 0.0, max_rows=100)
    assert times(read(outcomes, log, topics)) == [2.0]
    assert outcomes.unreadable == 10


async def test_the_newest_rows_stay_when_there_are_too_many(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """Of rows in any order of arrival the newest `max_rows` stay, repeats still count once, and older ones are not missed."""
    offsets = list(range(300))
    random.Random(3).shuffle(offsets)
    told = [outcome("m", float(at), at, source=1000 + n) for n, at in enumerate(offsets)]
    await write(outcome_messages(kafka, told, fetch=50) + outcome_messages(kafka, told) + features(kafka, range(100, 300)))
    found = training_rows(log, topics, "m", 0.0, max_rows=50)
    assert times(found) == [float(at) for at in range(250, 300)]
    assert found.missing == 0


async def test_the_lineage_makes_the_rows_again(kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics) -> None:
    """The ranges and the digest give the same set later, and say so when the topics do not hold it any more."""
    for partition in (0, 1):
        await write(features(kafka, range(20), partition=partition))
        await write(outcome_messages(kafka, [outcome("m", float(t), t, partition=partition) for t in range(20)]))
    made = training_rows(log, topics, "m", 5.0)
    lineage = made.lineage
    assert lineage == Lineage(
        topics.outcomes,
        {"0": [5, 20], "1": [5, 20]},
        rows_topic=topics.rows,
        rows_offsets={"0": [0, 1], "1": [0, 1]},
        rows=30,
        digest=made.digest,
        share=1.0,
    )
    await write(outcome_messages(kafka, [outcome("m", 30.0, 30), outcome("m", 6.0, 6, source=40, label=None)]))
    await write(features(kafka, [30]))
    assert made_again(log, lineage, "m", 5.0) == made
    assert training_rows(log, topics, "m", 5.0) != made
    longer = Lineage(**{**_fields(lineage), "offsets": {"0": [5, 22], "1": [5, 20]}})
    with pytest.raises(StateError, match=r"cannot be made again: 29 of 30 rows, digest [0-9a-f]{32}, expected"):
        made_again(log, longer, "m", 5.0)
    with pytest.raises(StateError, match="names no topic of rows"):
        made_again(log, Lineage("t.outcomes", {"0": [0, 40]}), "m", 5.0)


def _fields(lineage: Lineage) -> dict[str, Any]:
    return {name: getattr(lineage, name) for name in lineage.__struct_fields__}


async def test_a_set_that_was_cut_to_the_newest_rows_is_made_again(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """The lineage knows how many rows there were, so rows that were too old stay out."""
    await write(features(kafka, range(100)) + outcome_messages(kafka, [outcome("m", float(t), t) for t in range(100)], fetch=9))
    made = training_rows(log, topics, "m", 0.0, max_rows=30)
    again = made_again(log, made.lineage, "m", 0.0)
    assert (again.rows, again.digest) == (made.rows, made.digest)


async def test_what_comes_later_is_added(kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics) -> None:
    """Labels come after features, or features after labels: each is a row once both are there."""
    outcomes = Outcomes(log, topics, "m", 0.0, max_rows=100)
    assert len(read(outcomes, log, topics).rows) == 0
    await write(features(kafka, range(10), partition=1))
    assert len(read(outcomes, log, topics).rows) == 0
    await write(outcome_messages(kafka, [outcome("m", float(t), t, partition=1) for t in range(20)]))
    found = read(outcomes, log, topics)
    assert (len(found.rows), found.missing, outcomes.labelled, len(outcomes)) == (10, 10, 20, 10)
    assert found.note == (
        f"; 10 of 20 labelled rows have no features in {topics.rows} "
        "(not written yet, beyond its retention or retrain.rows_per_day, or predicted before an upgrade)"
    )
    await write(features(kafka, range(10, 20), partition=1))
    found = read(outcomes, log, topics)
    assert (len(found.rows), found.missing, found.note) == (20, 0, "")


async def test_what_is_appended_again_after_a_rebuild_is_read(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """Outcomes and rows that are written again, long after the change point, give the same rows."""
    told = outcome_messages(kafka, [outcome("m", float(t), t) for t in range(50)], fetch=20)
    await write(features(kafka, range(50)) + told)
    before = training_rows(log, topics, "m", 10.0)
    await write(features(kafka, range(25)) + features(kafka, range(25, 50)) + told)
    assert training_rows(log, topics, "m", 10.0).rows == before.rows


async def test_outcomes_of_version_1_have_their_features_in_themselves(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """An older deployment's outcomes are rows without the topic of rows, and a correction of one keeps its features."""
    old = [version_1("m", float(t), (0, 50 + t), label="old") for t in range(4)]
    await write([Outgoing(topics.outcomes, None, orjson.dumps(one), (), 0) for one in [*old, *old]])
    found = training_rows(log, topics, "m", 0.0)
    assert [(row.at, row.label, row.features) for row in found.rows] == [
        (50 + t, "old", {"x": float(t), "n": 3}) for t in range(4)
    ]
    corrections = [
        replace_id(outcome("m", 1.0, 7, source=90, label="new", corrects=True), "m-0-51"),
        replace_id(outcome("m", 2.0, 8, source=91, label=None, corrects=True), "m-0-52"),
    ]
    await write(outcome_messages(kafka, corrections))
    assert [(row.at, row.label) for row in training_rows(log, topics, "m", 0.0).rows] == [(50, "old"), (7, "new"), (53, "old")]


def replace_id(one: Outcome, identity: str) -> Outcome:
    """Return an outcome of another id."""
    return Outcome(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "id": identity})


async def test_a_sample_is_told(kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics) -> None:
    """Where the join kept one prediction in four, the lineage and the words say so."""
    await write(
        features(kafka, range(8)) + outcome_messages(kafka, [outcome("m", float(t), t, share=0.25) for t in range(8)], fetch=3)
    )
    found = training_rows(log, topics, "m", 0.0)
    assert (found.lineage.share, found.note) == (0.25, "; from 1 in 4 predictions")


async def test_a_change_point_before_the_log_or_after_it_is_fine(
    kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics
) -> None:
    """All rows come for a change point before the first one, no row for one in the future."""
    await write(features(kafka, range(10)) + outcome_messages(kafka, [outcome("m", float(t), t) for t in range(10)]))
    for seconds, expected in ((-1e9, 10), (1e12, 0)):
        assert len(training_rows(log, topics, "m", seconds).rows) == expected


async def test_the_newest_rows_are_held_out(kafka: KafkaSettings, log: Log, write: Write, topics: TrainingTopics) -> None:
    """The held-out share is the newest rows, at least one, and never overlaps with the training part."""
    outcomes = Outcomes(log, topics, "m", 0.0, max_rows=100)
    assert outcomes.training_set().split(0.25) == ((), ())
    await write(features(kafka, range(10)) + outcome_messages(kafka, [outcome("m", float(t), t) for t in range(10)]))
    older, newest = read(outcomes, log, topics).split(0.25)
    assert [row.predicted_at for row in older] == [float(t) for t in range(8)]
    assert [row.predicted_at for row in newest] == [8.0, 9.0]
