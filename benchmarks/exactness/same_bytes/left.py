"""What a run left on its topics, as lists of lines that are the same whenever the run was right.

As in benchmarks/exactness/chaos/evidence.py, everything counts once by its identity, and a window as the judge counts
it: the first part of an identity, unless the mark of its source has passed its end before it came. A repeat in other bytes
is a line of its own, so it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from benchmarks.exactness.same_bytes.broker import PREFIX, TopicRecord
from benchmarks.exactness.same_bytes.prints import line

#: Topics that are read, without their prefix.
TOPICS = ("outcomes", "windows", "alerts", "retrains", "dead-letters")
_SOURCE = "driftline-source"

#: (model, kind, source partition).
MarkSource = tuple[str, str, int]
_Identity = tuple[Any, ...]


def _outcomes(record: TopicRecord) -> Iterator[tuple[_Identity, bytes]]:
    """Yield (source, line) of the outcomes in a record, with what both versions of a record say; no corrections, no ticks."""
    body = orjson.loads(record.value or b"")
    if body["type"] == "outcome" and not body.get("corrects"):
        prediction, source = body["prediction"], body["source"]
        said = [body[name] for name in ("id", "model", "segment", "ts", "predicted_at", "model_version")]
        values = [*said, prediction["label"], prediction["score"], body["label"]]
        yield (source["partition"], source["offset"]), line(orjson.dumps(values))
    elif body["type"] == "outcomes":
        n = len(body["id"])
        names = ("id", "segment", "ts", "predicted_at", "model_version", "label", "score", "truth")
        defaults = {"segment": ""}
        columns = {name: body.get(name) or [defaults.get(name)] * n for name in names}
        corrects = body.get("corrects") or [False] * n
        for place, offset in enumerate(body["source"]):
            if not corrects[place]:
                first, *others = (columns[name][place] for name in names)
                yield (body["partition"], offset), line(orjson.dumps([first, body["model"], *others]))


def marks(records: Iterable[TopicRecord]) -> dict[MarkSource, list[tuple[float, TopicRecord]]]:
    """Return source -> (event time up to which its windows are written, epoch seconds; record that says so), in order."""
    found: dict[MarkSource, list[tuple[float, TopicRecord]]] = {}
    for record in records:
        body = msgspec.msgpack.decode(record.value or b"")
        if body["type"] == "mark":
            found.setdefault((body["model"], body["kind"], body["source"]), []).append((body["until"], record))
    return found


def left(topics: Mapping[str, Sequence[TopicRecord]]) -> dict[str, list[bytes]]:
    """Return what is compared -> lines."""
    windows = topics["windows"]
    until = {source: max(end for end, _ in found) for source, found in marks(windows).items()}
    alerts = _by_identity((_id(record), _whole(record)) for record in topics["alerts"])
    return {
        "outcomes": _sorted(one for record in topics["outcomes"] for one in _outcomes(record)),
        "windows of features": _windows(windows, "features"),
        "windows of outcomes": _windows(windows, "outcomes"),
        "marks": [line(*source, end) for source, end in sorted(until.items())],
        "dead letters": _sorted((_place(record), _whole(record)) for record in topics["dead-letters"]),
        "alert ids": [line(*identity) for identity in alerts],
        "alerts": [each for found in alerts.values() for each in found],
        "retrains": [
            each for found in _by_identity((_id(one), _whole(one)) for one in topics["retrains"]).values() for each in found
        ],
    }


def alert_ids(records: Iterable[TopicRecord]) -> list[str]:
    """Return the ids on the alerts topic, repeats included."""
    return [orjson.loads(record.value or b"")["id"] for record in records]


def _whole(record: TopicRecord) -> bytes:
    headers = [part for name, value in record.headers for part in (name, value)]
    return line(record.key, record.value, *headers)


def _by_identity(found: Iterable[tuple[_Identity, bytes]]) -> dict[_Identity, list[bytes]]:
    """Return identity -> its different lines, identities by what they begin with, then in order of the topic."""
    known: dict[_Identity, list[bytes]] = {}
    for identity, content in found:
        lines = known.setdefault(identity, [])
        if content not in lines:
            lines.append(content)
    return dict(sorted(known.items(), key=lambda one: one[0][:-1]))


def _sorted(found: Iterable[tuple[_Identity, bytes]]) -> list[bytes]:
    return [each for _, lines in sorted(_by_identity(found).items()) for each in lines]


def _id(record: TopicRecord) -> _Identity:
    """Return (model, whether of features or of errors, id): within the first two the order is always the same."""
    event = orjson.loads(record.value or b"")
    data = event["data"]
    return data["model"], data.get("level") or data["reason"], event["id"]


def _place(record: TopicRecord) -> _Identity:
    """Return where in the log the event of a dead letter stands."""
    topic, partition, offset = (dict(record.headers)[_SOURCE] or b"").decode().rsplit("/", 2)
    return topic.removeprefix(PREFIX), int(partition), int(offset)


def _windows(records: Iterable[TopicRecord], kind: str) -> list[bytes]:
    """Return the windows of one kind that were judged."""
    judged: dict[_Identity, bytes] = {}
    unjudged: set[_Identity] = set()
    until: dict[MarkSource, float] = {}
    for record in records:  # all windows and marks of a model are in one partition, in order
        body = msgspec.msgpack.decode(record.value or b"")
        if body.get("kind") != kind:
            continue
        source = (body["model"], kind, body["source"])
        if body["type"] == "mark":
            until[source] = max(until.get(source, body["until"]), body["until"])
            continue
        identity = (body["model"], body["segment"], body["source"], body["start"])
        end = (round(body["start"] / body["seconds"]) + 1) * body["seconds"]
        if identity in judged or identity in unjudged:
            continue
        if source in until and end <= until[source]:
            unjudged.add(identity)
        else:
            judged[identity] = _comparable(record, body)
    return [content for _, content in sorted(judged.items())]


def _comparable(record: TopicRecord, body: dict[str, Any]) -> bytes:
    """Return a window as a line; of outcomes without offsets, which repeats or ticks before it may have moved."""
    value = record.value
    if body["kind"] == "outcomes":
        value = msgspec.msgpack.encode({**body, "first": 0, "last": 0})
    return line(record.key, value, *(part for header in record.headers for part in header))
