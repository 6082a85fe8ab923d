"""Forgetting everything but the topics: the way back to offset zero."""

from __future__ import annotations

import time

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.exactness.chaos.run import DisturbedRun
from streams.settings import RedisSettings

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


def forget_state(state: RedisSettings) -> None:
    """Delete every key of a deployment."""
    with redis.Redis.from_url(state.url) as client:
        keys = list(client.scan_iter(f"{state.prefix}:*", count=_KEYS))
        for first in range(0, len(keys), _KEYS):
            client.delete(*keys[first : first + _KEYS])
