"""Forgetting: what Redis knows, the log of the join, events that were read, or everything but the topics."""

from __future__ import annotations

import time

import redis
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.exactness.chaos.run import DisturbedRun
from streams.kafka import create_topics
from streams.settings import RedisSettings
from streams.topics import EVENTS, JOIN

_PATIENCE_SECONDS = 30.0
#: Keys of one request to Redis.
_KEYS = 1000


def forget(run: DisturbedRun) -> None:
    """Delete the workers' committed offsets, their snapshots and everything else in Redis; they must have stopped."""
    kafka = run.deployment.kafka
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            admin.delete_consumer_groups([f"{kafka.prefix}.worker"])[f"{kafka.prefix}.worker"].result(_PATIENCE_SECONDS)
            break
        except KafkaException:  # the last member may be leaving
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    forget_state(run.deployment.redis)
    run.again()


def forget_join(run: DisturbedRun) -> None:
    """Delete the log of the join and create it again; the workers must have stopped."""
    name = run.deployment.name(JOIN)
    admin = AdminClient({"bootstrap.servers": run.deployment.kafka.bootstrap})
    admin.delete_topics([name], operation_timeout=_PATIENCE_SECONDS)[name].result(_PATIENCE_SECONDS)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while name in admin.list_topics(timeout=_PATIENCE_SECONDS).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    create_topics(run.deployment.kafka)


def forget_events(run: DisturbedRun) -> int:
    """Delete the events before the committed offsets, as retention would, and return how many; the workers must have stopped."""
    committed = run.deployment.committed(EVENTS)
    admin = AdminClient({"bootstrap.servers": run.deployment.kafka.bootstrap})
    places = [TopicPartition(run.deployment.name(EVENTS), partition, offset) for partition, offset in committed.items()]
    for future in admin.delete_records(places).values():
        future.result(_PATIENCE_SECONDS)
    return sum(committed.values())


def forget_state(state: RedisSettings) -> None:
    """Delete every key of a deployment."""
    with redis.Redis.from_url(state.url) as client:
        keys = list(client.scan_iter(f"{state.prefix}:*", count=_KEYS))
        for first in range(0, len(keys), _KEYS):
            client.delete(*keys[first : first + _KEYS])
