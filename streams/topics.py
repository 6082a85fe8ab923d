"""Every topic, in one table: what it carries, how it is keyed, how long it is kept.

`driftline topics create` makes them from this table and docs/topics.md prints it. The topics without a number of
partitions of their own need the same number: what comes from a partition of events is written to the partition of
the same number, which is what makes repeats after a crash recognisable (streams/stages/join.py).
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; `name` goes behind the prefix: `driftline.events`."""

    name: str
    carries: str
    key: str
    retention_seconds: int
    #: None takes the `partitions` setting of [kafka].
    partitions: int | None
    max_message_bytes: int = 1 << 20
    #: Records are stamped by the broker, not by whoever sends them: the clock that event times are held against.
    broker_time: bool = False
    #: Records of the same key replace each other, and a record without a value deletes its key.
    compacted: bool = False


EVENTS = Topic(
    "events", "predictions, feature-only events, labels and ticks", "event id", 7 * DAY_SECONDS, None, 4 << 20, broker_time=True
)
OUTCOMES = Topic(
    # The time of appending is the broker's: training finds its rows by it (retrainer/training.py).
    "outcomes",
    "predictions joined with their labels",
    'model, or id with `format = "rows"`; in the partition of the events',
    90 * DAY_SECONDS,
    None,
    broker_time=True,
)
JOIN = Topic(
    "join",
    "predictions and labels that may still be joined, packed: the state of the join (MessagePack)",
    "model, first and last offset; in the partition of the events",
    92 * DAY_SECONDS,
    None,
    compacted=True,
)
ROWS = Topic(
    "rows",
    "features of predictions with an id, as columns, for training (MessagePack)",
    "model; in the partition of the events",
    90 * DAY_SECONDS,
    None,
    broker_time=True,
)
WINDOWS = Topic(
    "windows",
    "window summaries, marks of progress, decisions on retrains, acceptances of changes: the monitoring history (MessagePack)",
    "model",
    365 * DAY_SECONDS,
    4,
    4 << 20,
)
ALERTS = Topic("alerts", "incidents opened, updated, resolved (CloudEvents)", "model", 365 * DAY_SECONDS, 1)
OUTLIERS = Topic("outliers", "single events far outside the reference (CloudEvents)", "model", 30 * DAY_SECONDS, 1)
RETRAINS = Topic("retrains", "requests to retrain (CloudEvents)", "model", 365 * DAY_SECONDS, 1)
SWAPS = Topic("swaps", "gate decisions and swaps of the served version (CloudEvents)", "model", 365 * DAY_SECONDS, 1)
DEAD = Topic(
    "dead-letters",
    "events that could not be used, unchanged, with reason, path and source in headers",
    "key of the event",
    30 * DAY_SECONDS,
    1,
    4 << 20,
)

TOPICS: tuple[Topic, ...] = (EVENTS, OUTCOMES, JOIN, ROWS, WINDOWS, ALERTS, OUTLIERS, RETRAINS, SWAPS, DEAD)


def topic_name(prefix: str, topic: Topic) -> str:
    """Return the name on the broker.

    >>> topic_name("driftline", EVENTS)
    'driftline.events'
    """
    return f"{prefix}.{topic.name}"
