"""Labels of a foreign topic and the worker: pairs are joined from a log with transactions in it, whatever is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.deployment import Deployment
from detectors.errors import StateError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.kafka import Outgoing, create_topics, delete_topics, partition_counts
from streams.records.outcomes import outcomes_of
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import EVENTS, OUTCOMES
from streams.worker.sources import require_equal
from tests.support.deployment import until

PAIRS = 3000
#: Labels a send: many transactions, and a kill in between.
_AT_ONCE = 100
BEGIN = 1_700_000_000.0


@pytest.fixture
def deployment(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> Iterator[Deployment]:
    """A deployment with a topic of labels, which does not exist yet."""
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, session_timeout_seconds=6.0)
    create_topics(kafka)
    models = f'[join]\nlabels_topic = "{prefix}-labels"\n[models.shop]\nwindow = "1m"\nlateness = "1h"\n'
    redis = RedisSettings(url=redis_server.url, prefix=prefix)
    made = Deployment(tmp_path / "home", kafka, redis, signing_key, models=models)
    yield made
    made.stop()
    delete_topics(kafka)


def labels_topic(deployment: Deployment) -> str:
    """Create the topic of labels and return its name."""
    name = f"{deployment.kafka.prefix}-labels"
    admin = AdminClient({"bootstrap.servers": deployment.kafka.bootstrap})
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(30)
    until(lambda: partition_counts(deployment.kafka).get(name), what="the topic of labels")
    return name


def prediction(deployment: Deployment, number: int) -> Outgoing:
    """Return a prediction under its id."""
    identity = f"order-{number}"
    body = {"id": identity, "model": "shop", "ts": BEGIN + number / 10, "features": {"x": 1.0}, "prediction": {"label": True}}
    return Outgoing(deployment.name(EVENTS), identity.encode(), orjson.dumps(body))


def label(topic: str, number: int) -> Outgoing:
    """Return a label under a key that is not its id."""
    body = {"id": f"order-{number}", "model": "shop", "ts": BEGIN + number / 10, "label": number % 3 == 0}
    return Outgoing(topic, f"customer-{number % 11}".encode(), orjson.dumps(body))


def test_each_prediction_gets_its_outcome_once_over_the_kill_of_a_worker(deployment: Deployment) -> None:
    """Labels come by another topic under another key, and a worker is killed in the middle: an outcome each, no correction."""
    topic = labels_topic(deployment)
    deployment.send(prediction(deployment, number) for number in range(PAIRS))
    worker, _ = deployment.ready("worker")
    for first in range(0, PAIRS, _AT_ONCE):
        deployment.send(label(topic, number) for number in range(first, first + _AT_ONCE))
        time.sleep(0.15)
        if first == PAIRS // 2:
            worker.kill()
            worker, _ = deployment.ready("worker")

    def sources() -> dict[str, set[tuple[int, int]]]:
        found: dict[str, set[tuple[int, int]]] = {}
        for record in deployment.read(OUTCOMES):
            for outcome in outcomes_of(record.value):
                found.setdefault(outcome.id, set()).add((outcome.source.partition, outcome.source.offset))
                assert not outcome.corrects
        return found

    until(lambda: len(sources()) == PAIRS or None, seconds=90, what=f"the outcomes; {worker.tail(1500)}")
    # A repeat after a crash has the same source: there is one label of each prediction on the events topic.
    assert all(len(found) == 1 for found in sources().values())
    values = [record.value for record in deployment.read(EVENTS) if record.value and b'"label":' in record.value]
    routed = [value for value in values if b"features" not in value]
    assert len(routed) == len(set(routed)) == PAIRS
    began = time.monotonic()
    worker.stop()
    assert worker.exit_status == 0, worker.tail()
    assert time.monotonic() - began < 5.0


def test_a_labels_topic_that_is_missing_is_named(deployment: Deployment) -> None:
    """The worker does not start: status 3, the name, and whose topic it is."""
    worker = deployment.start("worker")
    assert worker.wait(60) == 3
    said = worker.log.read_text()
    assert f"topic {deployment.kafka.prefix}-labels ([join] labels_topic) is missing" in said
    assert "it is yours, so create it" in said


@pytest.mark.fast
def test_topics_that_belong_to_events_have_as_many_partitions() -> None:
    """The message names what differs, and the command that adds partitions to whoever has too few."""
    equal = {"t.events": 6, "t.outcomes": 6, "t.join": 6, "t.rows": 6, "t.windows": 4}
    assert require_equal("t", "k:1", equal) == 6
    with pytest.raises(
        StateError, match=r"t\.events has 6 partitions, but t\.join has 4: .*add partitions to t\.join, each"
    ) as told:
        require_equal("t", "k:1", {**equal, "t.join": 4})
    assert "--bootstrap-server k:1 --alter --partitions 6 --topic TOPIC" in str(told.value)
    with pytest.raises(StateError, match=r"but t\.rows has 8: .*add partitions to t\.events and t\.outcomes and t\.join, each"):
        require_equal("t", "k:1", {**equal, "t.rows": 8})
