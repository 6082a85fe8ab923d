"""What `driftline check` says of the room for waiting predictions: from the configuration, and from the rate seen."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from hypothesis import given
from hypothesis import strategies as st

from detectors.pairing.bounds import ROW_BYTES
from detectors.spec import ModelSpec, OutcomeSpec
from driftline.explain.join_room import connected_notes, rate_seen, room_note, sample_of
from driftline.servers.ports import free_port
from streams.kafka import Outgoing, Sender, partition_counts
from streams.settings import JoinSettings, KafkaSettings, Settings
from streams.topics import EVENTS, ROWS, topic_name
from tests.support.deployment import until

DAY = 86_400.0


@pytest.fixture
def looked(settings: Settings) -> Settings:
    """The settings of a deployment with one model and its topics."""
    return replace(settings, models=(ModelSpec("m"),))


def notes(settings: Settings) -> list[str]:
    """Return what is said with a broker."""
    return list(connected_notes(settings))


@pytest.mark.fast
def test_the_room_follows_from_the_longest_label_window():
    """Bytes by bytes a prediction, and that by the window of the model that waits longest."""
    models = (ModelSpec("a"), ModelSpec("b", outcomes=OutcomeSpec(label_within_seconds=2 * DAY)))
    said = room_note(Settings(models=models))
    assert said.startswith("512MB of [join] most_bytes hold about 6.71 million waiting predictions (80 bytes each): at")
    assert "at label_within = 2d that is 38 a second of all models; beyond, a sample of 1 in 2, 4, ... is joined" in said
    wide = Settings(models=(ModelSpec("a", outcomes=OutcomeSpec(label_within_seconds=90 * DAY)),), join=JoinSettings(62 << 30))
    assert "62GB of [join] most_bytes hold about 832 million" in room_note(wide)
    assert "at label_within = 90d that is 107 a second" in room_note(wide)


@pytest.mark.fast
@given(st.floats(1, 1e12), st.floats(1, 1e12))
def test_a_sample_fits_and_is_no_smaller_than_it_must_be(rows: float, fits: float):
    """One in so many fits, and one in half as many would not."""
    one_in = sample_of(rows, fits)
    assert rows / one_in <= fits * 1.000001
    assert one_in == 1 or rows / (one_in / 2) > fits * 0.999999


def test_the_rate_seen_says_what_will_be_joined(looked: Settings) -> None:
    """It is that of all records over the time that they span; a bound above it holds them all, one below gives the sample."""
    (nothing,) = notes(looked)
    assert "holds too little yet to say" in nothing
    sender = Sender(looked.kafka, "tests-sender")
    events = topic_name(looked.kafka.prefix, EVENTS)
    asyncio.run(sender.send_all([Outgoing(events, b"%d" % number, b"{}") for number in range(600)]))
    rate, span = rate_seen(looked.kafka)
    assert 0 < span < 60
    assert rate * span == pytest.approx(600)
    (still,) = notes(looked)
    assert "holds too little" in still


@pytest.fixture
def a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seconds are enough to speak of a rate."""
    monkeypatch.setattr("driftline.explain.join_room._LEAST_SPAN_SECONDS", 0.5)


@pytest.mark.usefixtures("a_minute")
def test_what_does_not_fit_is_said_with_the_share_and_with_what_would_hold_it(looked: Settings) -> None:
    """The share is a power of two, and the number of bytes can be put into the file."""
    sender = Sender(looked.kafka, "tests-sender")
    events = topic_name(looked.kafka.prefix, EVENTS)
    asyncio.run(sender.send_all([Outgoing(events, b"%d" % number, b"{}") for number in range(6000)]))
    (much,) = notes(replace(looked, join=JoinSettings(1 << 40)))
    assert "and 1TB hold them all" in much
    (little,) = notes(replace(looked, join=JoinSettings(1 << 20)))
    found = re.search(r"about 1 in ([0-9,]+) will be joined; \[join\] most_bytes = \"([0-9]+)MB\" would hold them all$", little)
    assert found, little
    one_in, megabytes = (int(text.replace(",", "")) for text in found.groups())
    rate, _ = rate_seen(looked.kafka)
    assert one_in > 1
    assert one_in & (one_in - 1) == 0
    assert megabytes >= 0.5 * rate * 2 * DAY * ROW_BYTES / (1 << 20)


def test_topics_that_would_stop_a_worker_are_said(looked: Settings) -> None:
    """A topic of labels that is missing, and partitions that differ; what it says comes with status 0."""
    rows = topic_name(looked.kafka.prefix, ROWS)
    admin = AdminClient({"bootstrap.servers": looked.kafka.bootstrap})
    admin.create_partitions([NewPartitions(rows, 5)])[rows].result(30)
    until(lambda: partition_counts(looked.kafka)[rows] == 5 or None, what="the partition")
    said = notes(replace(looked, join=JoinSettings(labels_topic="nowhere")))
    assert any("topic nowhere ([join] labels_topic) is missing" in note for note in said)
    assert any(f"{rows} has 5 partitions and {looked.kafka.prefix}.events 4" in note for note in said)


def test_a_broker_that_is_away_and_a_deployment_without_topics_are_notes(looked: Settings) -> None:
    """Each is one sentence with what to do."""
    away = replace(looked, kafka=KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"))
    (said,) = notes(away)
    assert said.startswith("the topics could not be looked at: no Kafka at 127.0.0.1")
    (missing,) = notes(replace(looked, kafka=replace(looked.kafka, prefix="nobody")))
    assert missing.endswith("`driftline topics create` makes them")
