"""The topics that a worker starts on: all are there, and those that belong together have as many partitions."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.errors import StateError, UnavailableError
from streams.kafka import require_topics
from streams.settings import Settings
from streams.topics import EVENTS, JOIN, OUTCOMES, ROWS, Topic, topic_name

#: What comes from a partition of events is written to the partition of the same number of each of these.
OF_EVENTS: tuple[Topic, ...] = (OUTCOMES, JOIN, ROWS)


def sources_of(settings: Settings) -> int:
    """Return the number of partitions of the events topic, after a check that every topic is there.

    Raises:
        UnavailableError: Kafka is away or topics are missing.
        StateError: topics that belong to events differ from it in partitions; the message names them and how to add some.
    """
    counts = require_topics(settings.kafka)
    labels = settings.join.labels_topic
    if labels and labels not in counts:
        raise UnavailableError(
            f"topic {labels} ([join] labels_topic) is missing at {settings.kafka.bootstrap}: it is yours, so create it, or mend "
            "the name, or leave the key out; `driftline topics create` does not make it"
        )
    return require_equal(settings.kafka.prefix, settings.kafka.bootstrap, counts)


def require_equal(prefix: str, bootstrap: str, counts: Mapping[str, int]) -> int:
    """Return the number of partitions of events, if outcomes, join and rows have as many.

    Args:
        prefix: of the topics.
        bootstrap: the broker, for the command in the message.
        counts: name of a topic on the broker -> its number of partitions.

    Raises:
        StateError: one of them has another number.
    """
    name = topic_name(prefix, EVENTS)
    events = counts[name]
    others = {topic_name(prefix, topic): counts[topic_name(prefix, topic)] for topic in OF_EVENTS}
    differing = {topic: count for topic, count in others.items() if count != events}
    if not differing:
        return events
    most = max(events, *differing.values())
    said = ", ".join(f"{topic} has {count}" for topic, count in differing.items())
    # Partitions can be added and never removed: who has fewer than the most gets more.
    smaller = [topic for topic, count in {name: events, **others}.items() if count < most]
    raise StateError(
        f"{name} has {events} partitions, but {said}: what comes from a partition of events is written to the partition of the "
        f"same number, so all need the same; add partitions to {' and '.join(smaller)}, each with `kafka-topics "
        f"--bootstrap-server {bootstrap} --alter --partitions {most} --topic TOPIC`"
    )
