"""Kafka by its own client: in streams only this room imports confluent_kafka.

In: settings of the broker, messages to send, topics and offsets to read.
Out: records, offsets, topics on the broker, acknowledgements; `UnavailableError` where the broker does not answer.

Open `message.py` first: a message to send and a record that was read. `sender.py` produces; `log.py` reads from given offsets,
`group.py` as a member of a group; `transaction.py` reads and writes in one step. `admin.py` creates and checks topics,
`topic_settings.py` says what the broker is told of them, `cluster.py` reads their identities. `batch.py` is one
fetch in columns; workers fetch through streams/engine/transport.py.
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
from streams.kafka.topic_settings import topic_faults

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
    "topic_faults",
    "truncate",
    "wait_for_kafka",
]
