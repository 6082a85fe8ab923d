"""Identities of the cluster and of its topics: a topic that was deleted and created again has another id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET
from streams.settings import KafkaSettings

#: Ids of librdkafka's mock clusters begin so. They have no topic ids, and a request for them times out.
_MOCK = "mockCluster"


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic; the broker gives it its `id` at its creation (KIP-516), None on brokers without such ids."""

    id: str | None
    partitions: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster: its id, and name -> state of those topics in question that exist."""

    id: str | None
    topics: dict[str, TopicState]


def describe(settings: KafkaSettings, names: Iterable[str], timeout_seconds: float = 10.0) -> Cluster:
    """Return the cluster's id, and the identities of those topics that exist.

    Raises:
        UnavailableError: the broker does not answer.
    """
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, **QUIET})
    try:
        listed = admin.list_topics(timeout=timeout_seconds)
        counts = {name: len(listed.topics[name].partitions) for name in names if name in listed.topics}
        cluster = listed.cluster_id or ""
        if not counts or cluster.startswith(_MOCK):
            return Cluster(cluster or None, {name: TopicState(None, count) for name, count in counts.items()})
        futures = admin.describe_topics(TopicCollection(list(counts)), request_timeout=timeout_seconds)
        ids = {name: _id(future, timeout_seconds) for name, future in futures.items()}
    except KafkaException as error:
        raise UnavailableError(
            f"no Kafka at {settings.bootstrap} ({error.args[0].str()}): start it, or set [kafka] bootstrap in driftline.toml"
        ) from None
    except TimeoutError:
        raise UnavailableError(f"Kafka at {settings.bootstrap} does not describe its topics: is it healthy?") from None
    return Cluster(cluster or None, {name: TopicState(ids[name], counts[name]) for name in counts if ids[name] is not None})


def _id(future: Any, timeout_seconds: float) -> str | None:
    """Return a topic's id, None for one that was deleted since it was listed."""
    try:
        return str(future.result(timeout_seconds + 1.0).topic_id)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
        return None
