"""Kafka: the one door to confluent_kafka.

In: messages to be sent, offsets to be read from. Out: acknowledgements, records, the names and identities of topics.

Open `message.py` first, for the nouns. `sender.py` is the producer. `log.py` reads partitions from any offset, and
`group.py` reads as a member of a consumer group. `admin.py` makes and deletes topics, `cluster.py` asks for their
identities. Workers read through streams/engine/transport.py, which makes a `batch.py` of each fetch.
"""

from streams.kafka.admin import create_topics, delete_topics, missing_topics, partition_counts, truncate, wait_for_kafka
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
    "set_offsets",
    "truncate",
    "wait_for_kafka",
]
