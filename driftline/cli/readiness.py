"""What a process needs before it starts: each thing missing is one line that says what to do."""

from __future__ import annotations

import socket

from detectors.errors import UnavailableError
from streams.kafka import partition_counts
from streams.settings import Settings
from streams.state import binding
from streams.state.store import Store
from streams.topics import TOPICS, topic_name

_KAFKA_SECONDS = 5.0


def require_kafka(settings: Settings) -> None:
    """Return if the broker answers and has every topic.

    Raises:
        UnavailableError: no broker, or a topic is missing.
    """
    found = partition_counts(settings.kafka, _KAFKA_SECONDS)
    missing = [name for topic in TOPICS if (name := topic_name(settings.kafka.prefix, topic)) not in found]
    if missing:
        what = f"topic {missing[0]} is" if len(missing) == 1 else f"topics {', '.join(missing)} are"
        raise UnavailableError(f"{what} missing at {settings.kafka.bootstrap}: run `driftline topics create`")


def require_redis(settings: Settings) -> None:
    """Return if Redis answers.

    Raises:
        UnavailableError: it does not.
    """
    Store(settings.redis, settings.signing_key).ping()


def require_own_prefix(settings: Settings) -> None:
    """Return if the prefix in Redis is not another deployment's; what became of the topics is the workers' business.

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
        raise UnavailableError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what listens there, or set {key} in driftline.toml"
        ) from None
