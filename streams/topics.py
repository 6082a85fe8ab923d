"""Every topic, in one table: what it carries, how it is keyed, how long it is kept.

`driftline topics create` makes them from this table and docs/topics.md prints it. The events and
outcomes topics need the same number of partitions: an outcome is written to the partition of the
prediction it comes from, which is what makes repeats after a crash recognisable (streams/stages/join.py).
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


EVENTS = Topic(
    "events", "predictions, feature-only events, labels and ticks", "event id", 7 * DAY_SECONDS, None, 4 << 20, broker_time=True
)
OUTCOMES = Topic("outcomes", "predictions joined with their labels", "partition of the event", 90 * DAY_SECONDS, None)
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

TOPICS: tuple[Topic, ...] = (EVENTS, OUTCOMES, WINDOWS, ALERTS, OUTLIERS, RETRAINS, SWAPS, DEAD)


def topic_name(prefix: str, topic: Topic) -> str:
    """Return the name on the broker.

    >>> topic_name("driftline", EVENTS)
    'driftline.events'
    """
    return f"{prefix}.{topic.name}"
