"""The one door to confluent_kafka: producer, readers, topics.

Workers consume through streams/engine/transport.py; the readers here are for those that need no Faust: the
retrainer, the demo, tests.
"""

from streams.kafka.admin import (
    create_topics,
    delete_topics,
    missing_topics,
    partition_counts,
    require_topics,
    truncate,
    wait_for_kafka,
)
from streams.kafka.cluster import Cluster, TopicState, describe
from streams.kafka.group import GroupReader, members, set_offsets
from streams.kafka.log import Log
from streams.kafka.message import Outgoing, Record
from streams.kafka.sender import Sender

__all__ = [
    "Cluster",
    "GroupReader",
    "Log",
    "Outgoing",
    "Record",
    "Sender",
    "TopicState",
    "create_topics",
    "delete_topics",
    "describe",
    "members",
    "missing_topics",
    "partition_counts",
    "require_topics",
    "set_offsets",
    "truncate",
    "wait_for_kafka",
]
