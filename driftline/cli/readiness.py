"""Checks before a process starts: Kafka, Redis and ports. Each thing that is missing is one line that says what to do."""

from __future__ import annotations

import socket

from streams.kafka import require_topics
from streams.listening import cannot_listen
from streams.settings import Settings
from streams.state import binding
from streams.state.store import Store

_KAFKA_SECONDS = 5.0


def require_kafka(settings: Settings) -> None:
    """Return if the broker answers and has every topic.

    Raises:
        UnavailableError: no broker, or a topic is missing.
    """
    require_topics(settings.kafka, timeout_seconds=_KAFKA_SECONDS)


def require_redis(settings: Settings) -> None:
    """Return if Redis answers.

    Raises:
        UnavailableError: it does not.
    """
    Store(settings.redis, settings.signing_key).ping()


def require_own_prefix(settings: Settings) -> None:
    """Return if the prefix in Redis is not another deployment's; workers check the topics themselves.

    Raises:
        StateError: it is.
        UnavailableError: Kafka or Redis is away.
    """
    binding.require_own(Store(settings.redis, settings.signing_key), binding.current(settings.kafka))


def require_port(host: str, port: int, key: str) -> None:
    """Return if the port can be listened on; `key` is the setting that chooses another one.

    Raises:
        UnavailableError: it is taken, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # A connection that is only ending there is no listener; servers set this too.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise cannot_listen(host, port, error, f"stop what listens there, or set {key} in driftline.toml") from None
