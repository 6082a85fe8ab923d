"""Training rows: from the change point on, each outcome once, in order, bounded, without reading the whole topic."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from retrainer.training import Outcomes, first_offsets, training_rows
from streams.kafka import Log, Outgoing, Record, Sender
from streams.records.swap_event import Lineage
from streams.settings import Settings
from streams.topics import OUTCOMES, topic_name

pytestmark = pytest.mark.kafka


def outcome(model: str, at: float, source: tuple[int, int], *, label: Any = True, delay: float = 60.0) -> bytes:
    """One record of the outcomes topic."""
    return orjson.dumps(
        {
            "v": 1,
            "type": "outcome",
            "id": f"{model}-{source[0]}-{source[1]}",
            "model": model,
            "segment": "",
            "ts": at + delay,
            "predicted_at": at,
            "model_version": None,
            "features": {"x": at},
            "prediction": {"label": True, "score": 0.5},
            "label": label,
            "source": {"partition": source[0], "offset": source[1]},
        }
    )


@pytest.fixture
def topic(settings: Settings) -> str:
    """The outcomes topic of this test."""
    return topic_name(settings.kafka.prefix, OUTCOMES)


@pytest.fixture
async def write(settings: Settings, topic: str) -> Any:
    """A function that appends records to a partition and waits for the acknowledgements."""
    sender = Sender(settings.kafka, "test")

    async def append(partition: int, values: list[bytes]) -> None:
        await sender.send_all([Outgoing(topic, None, value, (), partition) for value in values])

    yield append
    sender.close()


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    """A reader."""
    reader = Log(settings.kafka, "test")
    yield reader
    reader.close()


async def test_rows_from_the_change_point_come_in_order_whatever_partition_they_are_in(
    settings: Settings, log: Log, write: Any
) -> None:
    """Rows of all partitions are one series by prediction time; older ones, other models and empty partitions are left out."""
    await write(0, [outcome("m", float(t), (0, t)) for t in range(0, 100, 2)])
    await write(2, [outcome("m", float(t), (2, t)) for t in range(1, 100, 2)] + [outcome("other", 99.0, (2, 500))])
    rows = training_rows(log, settings, "m", 40.0).rows
    assert [row.predicted_at for row in rows] == [float(t) for t in range(40, 100)]
    assert rows[0].features == {"x": 40.0}


async def test_repeats_are_dropped(settings: Settings, log: Log, write: Any) -> None:
    """The same source partition and offset is the same outcome, however often a crash wrote it."""
    once = [outcome("m", float(t), (1, t)) for t in range(10)]
    await write(1, once + once[4:] + once[2:])
    await write(3, [outcome("m", 3.0, (3, 3))])
    assert [row.source for row in training_rows(log, settings, "m", 0.0).rows] == sorted(
        [*((1, t) for t in range(10)), (3, 3)], key=lambda source: (source[1], source[0])
    )


async def test_rows_without_label_and_records_that_cannot_be_read_are_left_out(settings: Settings, log: Log, write: Any) -> None:
    """A null label teaches nothing, and garbage on the topic stops nothing."""
    await write(
        0, [b"garbage", b"\xff\xfe", b"{}", b'{"model": 3}', outcome("m", 1.0, (0, 1), label=None), outcome("m", 2.0, (0, 2))]
    )
    assert [row.predicted_at for row in training_rows(log, settings, "m", 0.0).rows] == [2.0]


async def test_the_newest_rows_stay_when_there_are_too_many(settings: Settings, log: Log, write: Any) -> None:
    """Memory is bounded: of rows in any order of arrival the newest `max_rows` stay, repeats still count once."""
    times = list(range(300))
    random.Random(3).shuffle(times)
    await write(0, [outcome("m", float(t), (0, t)) for t in [*times, *times]])
    rows = training_rows(log, settings, "m", 0.0, max_rows=50).rows
    assert [row.predicted_at for row in rows] == [float(t) for t in range(250, 300)]


async def test_the_lineage_covers_the_rows_and_makes_them_again(settings: Settings, log: Log, write: Any, topic: str) -> None:
    """The offset ranges hold every row of the set; records appended later do not."""
    await write(0, [outcome("m", float(t), (0, t)) for t in range(20)])
    await write(1, [outcome("m", float(t), (1, t)) for t in range(20)])
    made = training_rows(log, settings, "m", 5.0)
    assert made.lineage == Lineage(topic, {"0": [5, 20], "1": [5, 20]})
    await write(0, [outcome("m", 30.0, (0, 30))])
    again = Outcomes(log, topic, "m", 5.0, max_rows=50_000)
    again.advance(made.offsets)
    assert again.training_set() == made


async def test_rows_that_come_later_are_added(log: Log, write: Any, topic: str) -> None:
    """Advancing reads what is new, from where it stopped."""
    outcomes = Outcomes(log, topic, "m", 0.0, max_rows=100)
    outcomes.advance(log.ends(topic))
    assert len(outcomes) == 0
    for start in (0, 10):
        await write(1, [outcome("m", float(t), (1, t)) for t in range(start, start + 10)])
        outcomes.advance(log.ends(topic))
        assert len(outcomes) == start + 10


async def test_the_start_is_found_without_reading_what_lies_before(log: Log, write: Any, topic: str) -> None:
    """Bisection lands at or before the change point and near it, in full, sparse and empty partitions alike."""
    draw = random.Random(7)
    jittered = [outcome("m", t + draw.uniform(0, 3), (0, t), delay=draw.uniform(100, 105)) for t in range(20_000)]
    await write(0, jittered)
    await write(1, [outcome("m" if t % 10 == 0 else "other", float(t), (1, t), delay=0.0) for t in range(20_000)])
    offsets = first_offsets(log, topic, "m", 18_000.0)
    assert offsets[2] == offsets[3] == 0
    assert 13_000 <= offsets[0] <= 18_000
    assert 13_000 <= offsets[1] <= 18_000
    outcomes = Outcomes(log, topic, "m", 18_000.0, max_rows=100_000)
    outcomes.advance(log.ends(topic))
    taken = outcomes.training_set().rows
    assert sum(row.source[0] == 1 for row in taken) == 200
    assert sum(row.source[0] == 0 for row in taken) == sum(orjson.loads(value)["predicted_at"] >= 18_000.0 for value in jittered)


async def test_a_change_point_before_the_log_or_after_it_is_fine(log: Log, write: Any, topic: str) -> None:
    """All rows come for a change point before the first one, no row for one in the future."""
    await write(0, [outcome("m", float(t), (0, t)) for t in range(10)])
    for seconds, expected in ((-1e9, 10), (1e12, 0)):
        outcomes = Outcomes(log, topic, "m", seconds, max_rows=100)
        outcomes.advance(log.ends(topic))
        assert len(outcomes) == expected


def test_the_newest_rows_are_held_out() -> None:
    """The held-out share is the newest rows, at least one, and never overlaps with the training part."""

    class Nothing:
        def ends(self, _topic: str) -> dict[int, tuple[int, int]]:
            return {}

    outcomes = Outcomes(Nothing(), "t", "m", 0.0, max_rows=100)  # type: ignore[arg-type]  # a log without partitions
    assert outcomes.training_set().split(0.25) == ((), ())
    for t in range(10):
        outcomes._add(Record("t", 0, t, 0.0, None, outcome("m", float(t), (0, t))))
    older, newest = outcomes.training_set().split(0.25)
    assert [row.predicted_at for row in older] == [float(t) for t in range(8)]
    assert [row.predicted_at for row in newest] == [8.0, 9.0]
