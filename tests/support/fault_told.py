"""What a run with a fault left behind, as everybody after it sees it, and how that differs from another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import orjson

from detectors.windows.record import Mark, Window
from streams.kafka import Record
from streams.records import window_codec
from streams.state.store import Store
from streams.topics import ALERTS, DEAD, OUTCOMES, RETRAINS, WINDOWS, Topic


class Written(Protocol):
    """What a run wrote to Kafka."""

    @property
    def prefix(self) -> str:
        """Of its topics."""

    def told(self, topic: Topic) -> list[Record]:
        """Return the records of a topic, offsets from 0."""


@dataclass
class Told:
    """What a run left behind, as everybody after it sees it: repeats with the same id count once.

    Args:
        alerts: id -> bytes; `retrains` likewise.
        outcomes: (partition, offset) of the source -> bytes.
        windows: identity -> part, without those that the judge ignores because of the mark before them.
        dead: bytes, headers included.
        states: the judge's last snapshots; `kept`: what Redis keeps of each id; `references`: the versions in force.
    """

    alerts: dict[str, bytes] = field(default_factory=dict)
    retrains: dict[str, bytes] = field(default_factory=dict)
    outcomes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    windows: dict[tuple[Any, ...], Window] = field(default_factory=dict)
    dead: set[tuple[Any, ...]] = field(default_factory=set)
    states: list[str] = field(default_factory=list)
    kept: dict[bytes, int] = field(default_factory=dict)
    references: dict[bytes, bytes] = field(default_factory=dict)

    def differences(self, other: Told) -> list[str]:
        """Return what differs, one line each."""
        found = []
        for name in self.__dataclass_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine == theirs:
                continue
            a, b = ({str(item) for item in (each.items() if isinstance(each, dict) else each)} for each in (mine, theirs))
            counts = f"{len(mine)} instead of {len(theirs)}"
            found.append(f"{name}, {counts}: {str(sorted(a - b))[:400]} instead of {str(sorted(b - a))[:400]}")
        return found


def told(broker: Written, store: Store) -> Told:
    """Return what the run that has just ended left behind."""
    found = Told()
    for topic, into in ((ALERTS, found.alerts), (RETRAINS, found.retrains)):
        newest: dict[str, int] = {}
        for record in broker.told(topic):
            value = record.value or b""
            event = orjson.loads(value)
            if event["id"] not in into and topic is ALERTS:  # the alerts of an incident come in order
                assert event["data"]["sequence"] == newest.get(event["data"]["incident"], -1) + 1
                newest[event["data"]["incident"]] = event["data"]["sequence"]
            assert into.setdefault(event["id"], value) == value, f"two {topic.name} with id {event['id']}"
    numbers = _tell_outcomes(broker, found)
    _tell_windows(broker, found, numbers)
    prefix = f"{broker.prefix}.".encode()
    for record in broker.told(DEAD):
        headers = tuple((name, value.removeprefix(prefix)) for name, value in record.headers)
        found.dead.add((record.key, record.value, headers))
    _tell_redis(store, found)
    return found


def _tell_outcomes(broker: Written, found: Told) -> dict[tuple[int, int], int]:
    """Return (partition, offset in the topic) -> number among those that are no repeats."""
    numbers: dict[tuple[int, int], int] = {}
    newest: dict[int, tuple[int, int]] = {}
    for record in broker.told(OUTCOMES):
        source = orjson.loads(record.value or b"")["source"]
        key = (source["partition"], source["offset"])
        assert key[0] == record.partition
        last, count = newest.get(record.partition, (-1, 0))
        if key[1] > last:
            assert key not in found.outcomes, "an outcome came after a newer one for the first time"
            newest[record.partition] = (key[1], count + 1)
            numbers[record.partition, record.offset] = count
        assert found.outcomes.setdefault(key, record.value or b"") == record.value, f"two outcomes of {key}"
    return numbers


def _tell_windows(broker: Written, found: Told, numbers: Mapping[tuple[int, int], int]) -> None:
    until: dict[tuple[Any, ...], float] = {}
    for record in broker.told(WINDOWS):
        parsed = window_codec.parse(record.value)
        assert isinstance(parsed, (Window, Mark))
        stream = (parsed.model, parsed.kind, parsed.source)
        if isinstance(parsed, Mark):
            until[stream] = max(until.get(stream, float("-inf")), parsed.until)
        elif parsed.end > until.get(stream, float("-inf")):
            if parsed.kind == "outcomes":  # repeated outcomes move those after them; their number stays
                first, last = (numbers[parsed.source, offset] for offset in (parsed.first, parsed.last))
                parsed = msgspec.structs.replace(parsed, first=first, last=last)
            identity = (*stream, parsed.segment, parsed.start)
            assert found.windows.setdefault(identity, parsed) == parsed, f"two windows {identity}"


def _tell_redis(store: Store, found: Told) -> None:
    client, prefix = store._redis, store._settings.prefix
    for number in range(WINDOWS.partitions or 1):
        stored = store.load_snapshot(f"judge/{number}")
        found.states.append("" if stored is None else repr(_sorted(msgspec.msgpack.decode(stored[1]))))
    keys = list(client.scan_iter(f"{prefix}:pending:*", count=5000))
    for key, value in zip(keys, client.mget(keys), strict=True):
        found.kept[key.removeprefix(prefix.encode())] = msgspec.msgpack.decode(value)[0]
    for key in client.scan_iter(f"{prefix}:pointer:*", count=5000):
        found.references[key.removeprefix(prefix.encode())] = client.hget(key, "version")


def _sorted(value: Any) -> Any:
    """Return a snapshot with its keys in order: theirs is that in which kinds and sources first came."""
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value, key=str)]
    return [_sorted(item) for item in value] if isinstance(value, list) else value
