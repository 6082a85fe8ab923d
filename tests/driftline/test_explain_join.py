"""`driftline explain join`: what waits, and what became of an id, by the log of the join."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detectors.errors import DriftlineError
from detectors.spec import ModelSpec, OutcomeSpec
from driftline.cli.main import run
from driftline.explain.join import overview
from driftline.explain.join_id import IdAccount, IdRecord, fate_of_forgotten, sentences, trace
from driftline.servers.ports import free_port
from streams.engine.transport import LogState
from streams.kafka import Log, Outgoing, Record, Sender, partition_counts
from streams.kafka.partitioner import partition_of
from streams.records.join_chunks import decode, encode
from streams.records.times import rfc3339
from streams.settings import KafkaSettings
from streams.stages.join import Join
from streams.topics import EVENTS, topic_name
from tests.support.command_line import Done, beside
from tests.support.records import Fetched, batch_of
from tests.support.wired import wired

SPEC = ModelSpec("m", outcomes=OutcomeSpec(label_within_seconds=100.0))
BEGIN = 1_795_240_800.0


def half(kind: str, at: float, *, identity: str = "a", value: Any = True, key: str = "") -> tuple[bytes, bytes]:
    """Return key and value of a prediction or label, `at` seconds after the beginning."""
    what: dict[str, Any] = {"label": value} if kind == "label" else {"prediction": value, "segment": "eu", "features": {}}
    event = {"type": kind, "model": "m", "ts": BEGIN + at, "id": identity, **what}
    return (key or identity).encode(), json.dumps(event).encode()


class Topics:
    """The events and the log of the join of some partitions, as a worker wrote it."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._events: dict[int, list[Record]] = {number: [] for number in range(partitions)}
        self._log: dict[int, list[Record]] = {number: [] for number in range(partitions)}

    async def write(self, partition: int, *halves: tuple[bytes, bytes], durable: bool = True) -> None:
        """Let a worker read more events of a partition; without `durable` it has not written its chunk yet."""
        events = self._events[partition]
        first = len(events)
        for offset, (key, value) in enumerate(halves, first):
            events.append(Record("t.events", partition, offset, BEGIN + 50.0, key, value))
        if not durable:
            return
        wiring = replace(wired({"m": SPEC}), join_records=self.log)
        join = await Join.open(wiring, partition, LogState(first or None, 0, first))
        await join.feed(batch_of([Fetched(event.value or b"", event.offset) for event in events[first:]]), first)
        checkpoint = join.checkpoint(len(events), final=True)
        assert checkpoint is not None
        log = self._log[partition]
        for message in checkpoint.state:
            log.append(Record("t.join", partition, len(log), 0.0, message.key, message.value, message.headers))

    def log(self, partition: int) -> list[Record]:
        """Return the log of a partition."""
        return self._log[partition]

    def events(self, partition: int, start: int) -> Iterator[Record]:
        """Yield the events of a partition."""
        yield from self._events[partition][start:]

    def trace(self, identity: str = "a", partition: int = 0) -> IdAccount:
        """Return what became of an id."""
        return trace(SPEC, identity, partition, log=self.log, events=self.events, seed=lambda: 7)

    def said(self, identity: str = "a") -> str:
        """Return that in words, of one partition or of all."""
        return " ".join(sentences(SPEC, 0, [self.trace(identity, number) for number in range(self.partitions)]))


async def test_a_partition_says_what_waits() -> None:
    """Predictions with and without a label, labels without a prediction, and the oldest of them are counted."""
    topics = Topics(2)
    await topics.write(0, half("prediction", 1.0), half("label", 2.0), half("prediction", 3.0, identity="b"))
    await topics.write(1, half("label", 4.0, identity="c"))
    first, second = overview(2, topics.log, SPEC)
    assert (first.predictions, first.unlabelled, first.labels, first.share) == (2, 1, 0, 1.0)
    assert (first.oldest, first.reached) == ("2026-11-21T06:00:01.000Z", 3)
    assert (second.predictions, second.labels, second.oldest) == (0, 1, None)


def test_a_log_that_no_worker_began_is_said() -> None:
    """Before the first worker there is nothing to read, and the sentence says who begins it."""
    with pytest.raises(DriftlineError, match="the join has no log yet: a worker begins it"):
        overview(2, Topics(2).log, SPEC)


async def test_an_id_that_was_joined_and_corrected() -> None:
    """The prediction with answer, segment and offset, and both labels are there; the newest truth is named."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0), half("label", 2.0))
    joined = topics.trace()
    assert joined.state == "joined"
    assert [(one.kind, one.offset, one.value, one.segment) for one in joined.records] == [
        ("prediction", 0, True, "eu"),
        ("label", 1, True, ""),
    ]
    await topics.write(0, half("label", 3.0, value=False))
    assert topics.trace().state == "corrected"
    assert topics.said() == "Corrected in partition 0 at offset 2: the truth is false."


async def test_texts_are_read_with_the_words_of_their_chunk() -> None:
    """Answers and truths that are texts come back as they were sent, from chunks that number their words differently."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0, identity="b", value="dog"), half("prediction", 1.0, value="cat"))
    await topics.write(0, half("label", 2.0, value="dog"), half("label", 2.0, identity="b", value="cat"))
    assert [one.value for one in topics.trace().records] == ["cat", "dog"]
    assert [one.value for one in topics.trace("b").records] == ["dog", "cat"]


async def test_an_id_that_waits_says_until_when() -> None:
    """A prediction waits for `label_within` of event time; a label that came later is found in the events."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0))
    assert topics.said() == (
        "The prediction waits in partition 0 for its label, which counts up to 2026-11-21T06:01:41.000Z of event time."
    )
    await topics.write(0, half("label", 110.0))
    assert "The label at offset 1 came too late: 109s after the prediction, and label_within is 100s." in topics.said()


async def test_a_null_label_and_a_label_alone() -> None:
    """A null label closes the prediction; a label whose prediction never came waits."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0), half("label", 2.0, value=None), half("label", 2.0, identity="b"))
    assert topics.trace().state == "none"
    assert "there will be no label" in topics.said()
    assert topics.trace("b").state == "label_waiting"
    assert "is foreign" in topics.said("b")


async def test_what_the_log_has_not_yet_is_read_from_the_events() -> None:
    """Events that are newer than the last chunk are shown, with the advice to ask again."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0))
    await topics.write(0, half("label", 2.0), durable=False)
    assert [one.where for one in topics.trace().records] == ["log", "events"]
    assert "newer than the log of the join, which reaches offset 1: ask again" in topics.said()


async def test_a_label_under_another_key_is_found_anywhere() -> None:
    """Prediction and label in different partitions never meet, and the sentence says which key the message should have."""
    topics = Topics(2)
    await topics.write(0, half("prediction", 1.0))
    await topics.write(1, half("label", 2.0, key="customer-9"))
    said = topics.said()
    assert "The prediction is in partition 0 and the label in partition 1: they never meet." in said
    assert "with the id as the key of the message, which gives partition 0" in said
    assert "The key of a message is 'customer-9' and should be the id." in said


async def test_an_id_that_nobody_sent() -> None:
    """An id without a trace is said to be so, with the way to look further."""
    topics = Topics(1)
    await topics.write(0, half("prediction", 1.0))
    assert topics.trace("z").state == "unknown"
    assert "Never seen in partition 0" in topics.said("z")
    assert "--anywhere" in topics.said("z")


async def test_an_id_beyond_the_sample() -> None:
    """At level 2 three of four ids are not joined, and the sentence names the level, here and anywhere."""
    topics = Topics(2)
    await topics.write(0, half("prediction", 1.0))
    chunk = decode(topics.log(0)[-1].value or b"")
    raised = replace(chunk, stretch=replace(chunk.stretch, level=2, levels=()))
    topics.log(0)[-1] = replace(topics.log(0)[-1], value=encode(raised))
    left_out = next(one for one in map(str, range(100)) if topics.trace(one).state == "sampled_out")
    assert topics.said(left_out) == "Sampled out in partition 0 at level 2: 1 in 4 ids is joined, and this is not."


@pytest.mark.parametrize(
    ("known", "floor", "state"),
    [
        ([], 9, None),
        ([("label", 1, 0.0, True)], 9, "expired"),
        ([("prediction", 1, 0.0, True)], 9, "expired"),
        ([("prediction", 1, 0.0, True)], 0, "sampled_out"),
        ([("prediction", 1, 0.0, True), ("label", 2, 50.0, True)], 9, "joined"),
        ([("prediction", 1, 0.0, True), ("label", 2, 50.0, None)], 9, "none"),
        ([("prediction", 1, 0.0, True), ("label", 2, 50.0, True), ("label", 3, 60.0, False)], 9, "corrected"),
        ([("prediction", 1, 0.0, True), ("label", 2, 500.0, True)], 9, "expired"),
    ],
)
def test_what_became_of_a_forgotten_id(known: list[Any], floor: int, state: str | None) -> None:
    """The chunks still tell whether it was joined before it expired, or dropped by a level."""
    records = [IdRecord(kind, 0, offset, at, rfc3339(at), value, None, "", None, "log") for kind, offset, at, value in known]
    assert fate_of_forgotten(records, floor, 100.0) == state


def test_keys_go_where_java_sends_them() -> None:
    """The partition of a key is that of Java's producer, as its own tests have it."""
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    for key, murmur2 in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)):
        assert partition_of(key, 1_000_003) == (murmur2 & 0x7FFFFFFF) % 1_000_003


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """A function that runs `driftline explain join` beside a configuration for a broker."""
    with beside(tmp_path, None, monkeypatch):

        def run_it(kafka: KafkaSettings, *arguments: str) -> Done:
            text = f'[kafka]\nbootstrap = "{kafka.bootstrap}"\nprefix = "{kafka.prefix}"\n[models.fraud]\nwindow = "1m"\n'
            (tmp_path / "driftline.toml").write_text(text)
            return Done(run(["explain", "join", *arguments]), *capsys.readouterr())

        yield run_it


def test_a_model_that_is_not_configured_has_a_near_name(call: Callable[..., Done]) -> None:
    """A misspelt model is answered with the nearest name, before any broker is asked."""
    done = call(KafkaSettings(), "--model", "frayd")
    assert done.status == 2
    assert 'did you mean "fraud"?' in done.stderr
    assert call(KafkaSettings(), "--model", "fraud", "--anywhere").status == 2


def test_a_broker_that_is_away_is_named(call: Callable[..., Done]) -> None:
    """Without Kafka the command ends with 3 and the address that does not answer."""
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    done = call(kafka, "--model", "fraud")
    assert done.status == 3
    assert f"no Kafka at {kafka.bootstrap}" in done.stderr


async def test_the_log_of_a_broker_is_read(call: Callable[..., Done], kafka_settings: KafkaSettings) -> None:
    """What our sender wrote under an id is found in the partition of the id; before that there is no log, and a pipe is quiet."""
    missing = call(replace(kafka_settings, prefix="none"), "--model", "fraud")
    assert (missing.status, "no topic none.events at" in missing.stderr) == (3, True)
    assert "the join has no log yet" in call(kafka_settings, "--model", "fraud").stderr
    sender = Sender(kafka_settings, client="test")
    events = topic_name(kafka_settings.prefix, EVENTS)
    partitions = partition_counts(kafka_settings)[events]
    ids = [f"c0ffee-{number}" for number in range(20)]
    sent = [Outgoing(events, one.encode(), json.dumps({"model": "fraud", "id": one, "prediction": True}).encode()) for one in ids]
    await sender.send_all(sent)
    seen: dict[str, int] = {}
    spec = ModelSpec("fraud")
    for partition in range(partitions):
        log = Log(kafka_settings, "test")
        records = list(log.read(events, {partition: 0}))
        log.close()
        seen |= {(record.key or b"").decode(): record.partition for record in records}
        join = await Join.open(wired({"fraud": spec}, kafka=kafka_settings), partition, LogState(None, 0, len(records)))
        if records:
            values = [Fetched(one.value, one.offset, round(one.timestamp_seconds * 1000), events, partition) for one in records]
            await join.feed(batch_of(values), 0)
        checkpoint = join.checkpoint(len(records), final=True)
        assert checkpoint is not None
        await sender.send_all(checkpoint.state)
    sender.close()
    assert seen == {one: partition_of(one.encode(), partitions) for one in ids}
    shown = call(kafka_settings, "--model", "fraud", "--json")
    assert sum(line["unlabelled"] for line in shown.result["partitions"]) == len(ids)
    assert shown.stderr == ""
    one = call(kafka_settings, "--model", "fraud", "--id", ids[0])
    assert one.stdout.startswith(f"id {ids[0]}: hash ")
    assert f"The prediction waits in partition {seen[ids[0]]} for its label" in one.stdout
    nobody = call(kafka_settings, "--model", "fraud", "--id", "nobody", "--anywhere", "--json")
    assert nobody.result["sentences"] == [
        "No partition has the id, neither in the log of the join nor in the events that are kept."
    ]
