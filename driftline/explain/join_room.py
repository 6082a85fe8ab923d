"""Whether the predictions that wait for their labels fit in `[join] most_bytes`, before any has come and from the rate seen.

Rules:
1. A prediction takes its room until its label window is over, whether its label came or not: a correction may follow.
2. Beyond the room a sample is joined, halved until it fits: ids whose hash is below a bound.
3. The rate is that of all records of the events topic, labels among them, so the room that it asks for is the most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from detectors.errors import DriftlineError, UnavailableError
from detectors.pairing.bounds import ROW_BYTES
from driftline.text.durations import format_duration
from driftline.text.sizes import format_size
from streams.kafka import Log, partition_counts, topic_faults
from streams.settings import KafkaSettings, Settings
from streams.topics import DAY_SECONDS, EVENTS, JOIN, OUTCOMES, ROWS, TOPICS, topic_name

#: The rate is that of the last day, or of the time that the topic spans if it is younger.
_SPAN_SECONDS = float(DAY_SECONDS)
#: A topic that spans less says nothing of a rate.
_LEAST_SPAN_SECONDS = 60.0
_KAFKA_SECONDS = 5.0


def room_note(settings: Settings) -> str:
    """Return what fits in `[join] most_bytes`, in a sentence."""
    most, window = settings.join.most_bytes, settings.longest_label_within_seconds
    return (
        f"{format_size(most)} of [join] most_bytes hold about {_count(most / ROW_BYTES)} waiting predictions ({ROW_BYTES} "
        f"bytes each): at label_within = {format_duration(window)} that is "
        f"{_rate(most / ROW_BYTES / window)} a second of all models; beyond, a sample of 1 in 2, 4, ... is joined"
    )


def connected_notes(settings: Settings) -> Iterator[str]:
    """Yield what the broker says: topics that are missing or told otherwise, and the room that the rate seen asks for.

    A broker that does not answer is a sentence too.
    """
    kafka = settings.kafka
    try:
        counts = partition_counts(kafka, _KAFKA_SECONDS)
        yield from _missing(settings, counts)
        yield from topic_faults(kafka, settings.longest_label_within_seconds, _KAFKA_SECONDS)
        if topic_name(kafka.prefix, EVENTS) in counts:
            yield from _seen(settings)
    except DriftlineError as error:
        yield f"the topics could not be looked at: {error}"


def _missing(settings: Settings, counts: dict[str, int]) -> Iterator[str]:
    prefix = settings.kafka.prefix
    missing = [name for topic in TOPICS if (name := topic_name(prefix, topic)) not in counts]
    if missing:
        yield f"missing at {settings.kafka.bootstrap}: {', '.join(missing)}; `driftline topics create` makes them"
    labels = settings.join.labels_topic
    if labels and labels not in counts:
        yield f"topic {labels} ([join] labels_topic) is missing at {settings.kafka.bootstrap}: create it, or no worker starts"
    events = topic_name(prefix, EVENTS)
    for topic in (OUTCOMES, JOIN, ROWS):
        name = topic_name(prefix, topic)
        if events in counts and counts.get(name, counts[events]) != counts[events]:
            yield f"{name} has {counts[name]} partitions and {events} {counts[events]}: make them equal, or no worker starts"


def _seen(settings: Settings) -> Iterator[str]:
    rate, span = rate_seen(settings.kafka)
    if span < _LEAST_SPAN_SECONDS or not rate:
        yield "the events topic holds too little yet to say whether the waiting predictions will fit"
        return
    window = settings.longest_label_within_seconds
    rows, fits = rate * window, settings.join.most_bytes / ROW_BYTES
    said = (
        f"{settings.kafka.prefix}.events got {_rate(rate)} records a second over its last {format_duration(round(span))}, labels "
        f"among them: at most {_count(rows)} predictions wait at label_within = {format_duration(window)}"
    )
    if rows <= fits:
        yield f"{said}, and {format_size(settings.join.most_bytes)} hold them all"
        return
    one_in = sample_of(rows, fits)
    needed = math.ceil(rows * ROW_BYTES / (1 << 20))
    yield f'{said}: about 1 in {one_in:,} will be joined; [join] most_bytes = "{needed}MB" would hold them all'


def sample_of(rows: float, fits: float) -> int:
    """Return n, where one prediction in n is joined: the least power of two with which `rows` fit.

    >>> sample_of(10, 20), sample_of(21, 20), sample_of(100, 20)
    (1, 2, 8)
    """
    return 1 << max(0, math.ceil(math.log2(rows / fits)))


def rate_seen(kafka: KafkaSettings) -> tuple[float, float]:
    """Return records a second of the events topic, and the seconds that they were counted over; zeros for an empty topic.

    Raises:
        UnavailableError: the broker does not answer.
    """
    topic, now = topic_name(kafka.prefix, EVENTS), time.time()
    log = Log(kafka, "check")
    try:
        ends = log.ends(topic, _KAFKA_SECONDS)
        starts = log.offsets_at(topic, now - _SPAN_SECONDS, _KAFKA_SECONDS)
        count = sum(end - starts[number] for number, (_, end) in ends.items())
        if not count:
            return 0.0, 0.0
        if any(starts[number] > first for number, (first, _) in ends.items()):
            return count / _SPAN_SECONDS, _SPAN_SECONDS
        began = min(_oldest(log, topic, number, first) for number, (first, end) in ends.items() if end > first)
    finally:
        log.close()
    span = max(now - began, 1.0)
    return count / span, span


def _oldest(log: Log, topic: str, number: int, first: int) -> float:
    """Return when the first record of a partition was written, epoch seconds."""
    for record in log.read(topic, {number: first}, idle_seconds=_KAFKA_SECONDS):
        return record.timestamp_seconds
    raise UnavailableError(f"{topic}/{number} could not be read")


def _count(number: float) -> str:
    """Return a number of predictions as people say it."""
    for unit, factor in (("billion", 1e9), ("million", 1e6)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}" if number < 100 * factor else f"{number / factor:,.0f} {unit}"
    return f"{number:,.0f}"


def _rate(per_second: float) -> str:
    """Return a rate as people say it: whole, rounded down, from ten on."""
    return f"{int(per_second):,}" if per_second >= 10 else f"{per_second:.2g}"
