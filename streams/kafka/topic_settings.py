"""What the broker is told of a topic, and which topics of a deployment it was told something else of.

Rules:
1. Only what would do harm is a fault: records go too early, are refused, or carry the wrong clock. A topic that its owner
   keeps for longer, or in smaller segments, is left alone and unsaid.
2. The topic of the join is read whole at a start. Compaction and retention pass over the segment that is being written, so
   its segments close after a quarter of the longest label window, an hour at least: at most about a quarter more is read than
   is needed. Kafka's week would keep the chunks of a window of ten minutes for seven days.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined] # it is there at run time

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET
from streams.settings import KafkaSettings
from streams.topics import DAY_SECONDS, JOIN, TOPICS, Topic, topic_name

#: What the join keeps behind the longest label window.
MARGIN_SECONDS = 2 * DAY_SECONDS
_LEAST_SEGMENT, _MOST_SEGMENT = 3600, 7 * DAY_SECONDS


def broker_settings(topic: Topic, label_within_seconds: float) -> dict[str, str]:
    """Return the settings of a topic that the table decides; `label_within_seconds` is the longest of the models."""
    retention = topic.retention_seconds
    found = {
        "cleanup.policy": "compact,delete" if topic.compacted else "delete",
        "max.message.bytes": str(topic.max_message_bytes),
        "message.timestamp.type": "LogAppendTime" if topic.broker_time else "CreateTime",
    }
    if topic is JOIN:
        retention = max(retention, int(label_within_seconds) + MARGIN_SECONDS)
        if label_within_seconds:
            segment = min(max(int(label_within_seconds / 4), _LEAST_SEGMENT), _MOST_SEGMENT)
            found["segment.ms"] = str(segment * 1000)
    return {"retention.ms": str(retention * 1000), **found}


def topic_faults(settings: KafkaSettings, label_within_seconds: float, timeout_seconds: float = 10.0) -> list[str]:
    """Return what is wrong with the settings of the topics that exist, a sentence each with the command that mends it.

    Args:
        settings: the broker.
        label_within_seconds: the longest of the models.
        timeout_seconds: how long the broker may take.

    Raises:
        UnavailableError: the broker does not answer.
    """
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, **QUIET})
    try:
        there = admin.list_topics(timeout=timeout_seconds).topics
        wanted = {name: topic for topic in TOPICS if (name := topic_name(settings.prefix, topic)) in there}
        if not wanted:
            return []
        places = [ConfigResource("topic", name) for name in wanted]
        answers = admin.describe_configs(places, request_timeout=timeout_seconds)
        found = {
            place.name: {name: entry.value for name, entry in future.result(timeout_seconds + 1.0).items()}
            for place, future in answers.items()
        }
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        raise UnavailableError(f"Kafka at {settings.bootstrap} does not describe its topics: {reason}; is it up?") from None
    return [
        fault
        for name, topic in wanted.items()
        for fault in _faults(settings.bootstrap, name, topic, found[name], label_within_seconds)
    ]


def _faults(bootstrap: str, name: str, topic: Topic, has: Mapping[str, str], label_within_seconds: float) -> list[str]:
    wants = broker_settings(topic, label_within_seconds)
    faults: dict[str, str] = {}
    if topic.broker_time and has.get("message.timestamp.type") != "LogAppendTime":
        faults["message.timestamp.type"] = "its records carry the clock of whoever sends them, and a wrong one would count"
    if topic.compacted and "compact" not in has.get("cleanup.policy", ""):
        faults["cleanup.policy"] = "what the join has done with is never removed before its retention is over"
    if int(has.get("max.message.bytes", wants["max.message.bytes"])) < topic.max_message_bytes:
        faults["max.message.bytes"] = "larger records, which Driftline may write, would be refused"
    keeps = int(has.get("retention.ms", "-1"))
    needs = int(label_within_seconds) + MARGIN_SECONDS
    if topic is JOIN and 0 <= keeps < needs * 1000:
        faults["retention.ms"] = (
            f"predictions wait for their labels for up to {needs / DAY_SECONDS:g} days, two days of that spare"
        )
    return [
        f"topic {name} has {setting}={has.get(setting)}, wanted is {wants[setting]}: {why}; change it with `kafka-configs "
        f"--bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {name} --add-config "
        f"{setting}={_quoted(wants[setting])}`"
        for setting, why in faults.items()
    ]


def _quoted(value: str) -> str:
    """Return a value as kafka-configs reads it: a list stands in square brackets."""
    return f"[{value}]" if "," in value else value
