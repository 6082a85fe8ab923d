"""One record of a topic of labels -> the message on the events topic, whose key is the id.

Rules:
1. What is a label is decided by the reader of events (streams/events/event.py): one truth for both topics.
2. The bytes of the value are passed on as they are.
3. Time is judged by the worker that reads the events topic, with that broker's clock. Here no clock is asked. A label without
   a time of its own gets that of its routing, so labels in a topic of their own need `ts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detectors.errors import EventError
from detectors.spec import ModelSpec
from streams.events.event import parse
from streams.kafka import Outgoing, Record
from streams.settings import KafkaSettings
from streams.topics import EVENTS, topic_name

#: The end of the year 9999, in milliseconds: no event is ahead of it.
_ANY_TIME = 253_402_300_799_000


def label_route(kafka: KafkaSettings, models: Mapping[str, ModelSpec]) -> Callable[[Record], list[Outgoing]]:
    """Return the route of labels: a record -> its message on the events topic.

    The route raises `EventError` with the reason for a record that is no label of one of the models.
    """
    topic = topic_name(kafka.prefix, EVENTS)

    def route(record: Record) -> list[Outgoing]:
        event = parse(record.offset, _ANY_TIME, record.value, models)
        if event.kind != "label":
            raise EventError("not_a_label", "type", f"expected a label on a topic of labels, got a {event.kind} event")
        return [Outgoing(topic, str(event.id).encode(), record.value)]

    return route
