"""What a deployment left behind on its topics, read from their beginnings.

Everything is kept by its identity: how often it stands there and in which bytes. A window counts as the
judge counts it (detectors/model/channel.py): the first part of an identity, unless the mark of its source has
passed its end before it came; then nobody ever judged it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
import orjson

from benchmarks.deployment import Deployment
from benchmarks.exactness.chaos.expected import Place, WindowKey
from detectors.windows.record import Kind, Mark, Window
from streams.kafka import Record
from streams.records import window_codec
from streams.records.dead_letters import REASON, SOURCE
from streams.records.outcomes import encode, outcomes_of
from streams.topics import ALERTS, DEAD, EVENTS, OUTCOMES, RETRAINS, WINDOWS

K = TypeVar("K")
#: Bytes of a record: key, value and whatever headers belong to it.
Bytes = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Copies(Generic[K]):
    """Records by identity: identity -> bytes -> how often."""

    found: dict[K, Counter[Bytes]]

    @classmethod
    def of(cls, records: Iterable[tuple[K, Bytes]]) -> Copies[K]:
        """Collect (identity, bytes)."""
        found: dict[K, Counter[Bytes]] = {}
        for identity, content in records:
            found.setdefault(identity, Counter())[content] += 1
        return cls(found)

    @property
    def repeats(self) -> int:
        """Records beyond the first of each identity."""
        return sum(copies.total() for copies in self.found.values()) - len(self.found)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands on the topics of one deployment.

    Args:
        alerts: by id; so are `retrains`.
        outcomes: by their source in the events topic.
        dead: by the offset of the event they are of; (topic, partition, offset) as its header says.
        windows: identity -> (rows, bytes) of the part that was judged.
        unjudged: parts that no mark had announced in time, nor a repeat explains.
        window_repeats: parts of an identity that had been judged already.
        ticks: records that the judge wrote because a source was silent.
    """

    alerts: Copies[str]
    retrains: Copies[str]
    outcomes: Copies[Place]
    dead: Copies[str]
    windows: dict[WindowKey, tuple[int, bytes]]
    unjudged: frozenset[WindowKey]
    window_repeats: int
    ticks: int


def evidence(deployment: Deployment, *, sent: int) -> Evidence:
    """Read everything; `sent` is how many records of the events topic are the input log."""
    outcomes, ticks = _outcomes(deployment.read(OUTCOMES))
    windows, unjudged, window_repeats = judged_windows(deployment.read(WINDOWS))
    return Evidence(
        alerts=_by_id(deployment.read(ALERTS)),
        retrains=_by_id(deployment.read(RETRAINS)),
        outcomes=outcomes,
        dead=Copies.of(
            (_source(letter), (_header(letter, REASON), letter.key, letter.value)) for letter in deployment.read(DEAD)
        ),
        windows=windows,
        unjudged=unjudged,
        window_repeats=window_repeats,
        ticks=ticks + sum(deployment.ends(EVENTS).values()) - sent,
    )


def _by_id(records: Iterable[Record]) -> Copies[str]:
    return Copies.of((orjson.loads(record.value or b"")["id"], (record.key, record.value)) for record in records)


def _outcomes(records: Iterable[Record]) -> tuple[Copies[Place], int]:
    found: list[tuple[Place, Bytes]] = []
    ticks = 0
    for record in records:
        # Which outcomes share a record depends on the fetches, so each is compared by itself.
        several = outcomes_of(record.value)
        ticks += not several
        found += [((one.source.partition, one.source.offset), (one.model.encode(), encode(one))) for one in several]
    return Copies.of(found), ticks


def judged_windows(records: Iterable[Record]) -> tuple[dict[WindowKey, tuple[int, bytes]], frozenset[WindowKey], int]:
    """Return (window -> rows and bytes, windows that came too late for the judge, repeats)."""
    judged: dict[WindowKey, tuple[int, bytes]] = {}
    unjudged: set[WindowKey] = set()
    until: dict[tuple[str, Kind, int], float] = {}
    repeats = 0
    for record in records:  # all windows and marks of a model are in one partition, in order
        parsed = window_codec.parse(record.value)
        if isinstance(parsed, Mark):
            source = (parsed.model, parsed.kind, parsed.source)
            until[source] = max(until.get(source, float("-inf")), parsed.until)
        elif isinstance(parsed, Window):
            key = (parsed.model, parsed.segment, parsed.kind, parsed.source, parsed.start)
            if key in judged or key in unjudged:
                repeats += 1
            elif parsed.end <= until.get(key[0:1] + key[2:4], float("-inf")):
                unjudged.add(key)
            else:
                judged[key] = (parsed.n, _comparable(parsed, record))
    return judged, frozenset(unjudged), repeats


def _comparable(window: Window, record: Record) -> bytes:
    """Return the window's bytes; of outcomes without offsets, which repeats before it have moved."""
    if window.kind == "features":
        return record.value or b""
    return msgspec.msgpack.encode(msgspec.structs.replace(window, first=0, last=0))


def _header(record: Record, name: str) -> bytes | None:
    return dict(record.headers).get(name)


def _source(record: Record) -> str:
    """Return `topic/partition/offset` without the deployment's prefix: `events/3/117`."""
    return (_header(record, SOURCE) or b"?").decode().partition(".")[2]
