"""What a run with a fault left behind, as everybody after it sees it, and how that differs from another run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np
import orjson

from detectors.windows.record import Mark, Window
from streams.kafka import Record
from streams.records import training_rows, window_codec
from streams.records.outcomes import encode, outcomes_of
from streams.state.join_log import JoinLog, load
from streams.state.store import Store
from streams.topics import ALERTS, DEAD, JOIN, OUTCOMES, RETRAINS, ROWS, WINDOWS, Topic
from tests.support.fault_log import MODELS, SOURCES


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
        outcomes: model, and (partition, offset) of the source -> the outcome. How many share a record is of no concern.
        waiting: (model, partition) -> what the log of the join says that waits there.
        rows: (model, partition, offset) -> the features of a prediction.
        windows: identity -> part, without those that the judge ignores because of the mark before them.
        dead: bytes, headers included.
        states: the judge's last snapshots; `references`: the versions in force.
    """

    alerts: dict[str, bytes] = field(default_factory=dict)
    retrains: dict[str, bytes] = field(default_factory=dict)
    outcomes: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    waiting: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    rows: dict[tuple[str, int, int], Any] = field(default_factory=dict)
    windows: dict[tuple[Any, ...], Window] = field(default_factory=dict)
    dead: set[tuple[Any, ...]] = field(default_factory=set)
    states: list[str] = field(default_factory=list)
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
    _tell_outcomes(broker, found)
    _tell_join(broker, found)
    _tell_rows(broker, found)
    _tell_windows(broker, found)
    prefix = f"{broker.prefix}.".encode()
    for record in broker.told(DEAD):
        headers = tuple((name, value.removeprefix(prefix)) for name, value in record.headers)
        found.dead.add((record.key, record.value, headers))
    _tell_redis(store, found)
    return found


def _tell_outcomes(broker: Written, found: Told) -> None:
    newest: dict[tuple[str, int], int] = {}
    for record in broker.told(OUTCOMES):
        for one in outcomes_of(record.value):
            assert one.source.partition == record.partition
            key, stream = (one.model, record.partition, one.source.offset), (one.model, record.partition)
            if one.source.offset > newest.get(stream, -1):
                assert key not in found.outcomes, "an outcome came after a newer one for the first time"
                newest[stream] = one.source.offset
            value = encode(one)
            assert found.outcomes.setdefault(key, value) == value, f"two outcomes of {key}"


def _tell_join(broker: Written, found: Told) -> None:
    within = {spec.name: spec.outcomes.label_within_seconds for spec in MODELS}
    for partition in range(SOURCES):
        records = [record for record in broker.told(JOIN) if record.partition == partition]
        loaded = load(JoinLog(lambda of=records: of), within, most_bytes=1 << 26, first=0)  # type: ignore[misc]
        assert loaded.lost is None
        assert loaded.begin is not None
        for model, pairs in loaded.partition.models.items():
            value = pairs.boxes.value
            rows = pairs.waiting.rows[pairs.waiting.taken()]
            early = pairs.early.rows[pairs.early.taken()]
            found.waiting[model, partition] = [
                *sorted((int(row["offset"]), float(row["ts"]), repr(value(int(row["truth"])))) for row in rows),
                *sorted((int(row["offset"]), float(row["ts"]), repr(value(int(row["truth"])))) for row in early),
            ]


def _tell_rows(broker: Written, found: Told) -> None:
    for record in broker.told(ROWS):
        rows = training_rows.parse(record.value)
        for offset, features in zip(rows.offsets.tolist(), rows.features(np.arange(len(rows))), strict=True):
            key = (rows.model, record.partition, offset)
            assert found.rows.setdefault(key, features) == features, f"two rows of {key}"


def _tell_windows(broker: Written, found: Told) -> None:
    until: dict[tuple[Any, ...], float] = {}
    for record in broker.told(WINDOWS):
        parsed = window_codec.parse(record.value)
        assert isinstance(parsed, (Window, Mark))
        stream = (parsed.model, parsed.kind, parsed.source)
        if isinstance(parsed, Mark):
            until[stream] = max(until.get(stream, float("-inf")), parsed.until)
        elif parsed.end > until.get(stream, float("-inf")):
            identity = (*stream, parsed.segment, parsed.start)
            assert found.windows.setdefault(identity, parsed) == parsed, f"two windows {identity}"


def _tell_redis(store: Store, found: Told) -> None:
    client, prefix = store._redis, store._settings.prefix
    for number in range(WINDOWS.partitions or 1):
        stored = store.load_snapshot(f"judge/{number}")
        found.states.append("" if stored is None else repr(_sorted(msgspec.msgpack.decode(stored[1]))))
    assert not list(client.scan_iter(f"{prefix}:pending:*", count=5000))
    for key in client.scan_iter(f"{prefix}:pointer:*", count=5000):
        found.references[key.removeprefix(prefix.encode())] = client.hget(key, "version")


def _sorted(value: Any) -> Any:
    """Return a snapshot with its keys in order: theirs is that in which kinds and sources first came."""
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value, key=str)]
    return [_sorted(item) for item in value] if isinstance(value, list) else value
