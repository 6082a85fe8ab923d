"""What the state under a Redis prefix belongs to: one Kafka, one prefix on it, and topics as they were.

Snapshots, committed offsets and waiting predictions speak of offsets. An offset means something in one
topic only: not in another of the same name, not under another number of partitions, not on another
cluster. So what they were made with is recorded.

Rules:
1. The first worker writes the record, signed; whoever starts later compares. A running worker looks again.
2. A topic created again is known by its id (KIP-516). Where a broker has no ids, the judge still refuses a
   snapshot beyond the end of its log (streams/stages/judge.py).
3. Only `driftline rebuild` replaces the record. While one is under way the record says so, and no worker
   starts; one that was killed is run again (streams/state/rebuild.py).
4. A topic that is missing is no change: it may be about to come back, and there is nothing to read. A record of a version
   that had fewer topics stays valid.
5. The topics of the join and of training rows may be created again: the join then reads the events anew, and training has
   fewer rows. Their partitions belong to those of events, and may not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from detectors.errors import SignatureError, StateError
from streams.kafka import describe
from streams.settings import KafkaSettings
from streams.state.store import Store
from streams.topics import EVENTS, JOIN, OUTCOMES, ROWS, WINDOWS, topic_name

Source = Literal["windows", "events"]
Bound = Literal["events", "outcomes", "windows", "join", "rows"]

FORMAT = 1
_TOPICS = {"events": EVENTS, "outcomes": OUTCOMES, "windows": WINDOWS, "join": JOIN, "rows": ROWS}
#: Topics of which only the number of partitions matters: they may be created again.
_REPLACEABLE: tuple[Bound, ...] = ("join", "rows")


class BoundTopic(msgspec.Struct, frozen=True):
    """One topic at the time of binding; `id` is None where the broker has none."""

    id: str | None
    partitions: int


class Binding(msgspec.Struct, frozen=True):
    """The record.

    Args:
        cluster: id of the Kafka cluster, None where it has none.
        prefix: of the topics.
        topics: name behind the prefix -> topic; without those that do not exist.
        rebuilding: what a rebuild that is under way starts from, None when none is.
    """

    cluster: str | None
    prefix: str
    topics: dict[Bound, BoundTopic]
    rebuilding: Source | None = None
    format: int = FORMAT


class _BoundFormat(msgspec.Struct, frozen=True):
    format: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Binding)
_head = msgspec.json.Decoder(_BoundFormat)


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic that is not what it was."""

    name: Bound
    before: BoundTopic
    now: BoundTopic

    @property
    def recreated(self) -> bool:
        """Whether it is another topic of the same name."""
        return None not in (self.before.id, self.now.id) and self.before.id != self.now.id

    @property
    def repartitioned(self) -> bool:
        """Whether its number of partitions is another one."""
        return self.before.partitions != self.now.partitions

    @property
    def refused(self) -> bool:
        """Whether the state does not fit the topic any more."""
        return self.repartitioned or (self.recreated and self.name not in _REPLACEABLE)


_WINDOWS = "`driftline rebuild --from windows`"
_EVENTS = "`driftline rebuild --from events`"
#: Topic -> what it means that it was created again, and the way out.
_RECREATED: dict[Bound, str] = {
    "events": (
        "committed offsets, outcomes and waiting predictions are of the old one; `driftline rebuild --from windows --allow-loss` "
        "keeps the history of windows and goes on with the new topic, without the outcomes so far"
    ),
    "outcomes": f"{_EVENTS} joins the outcomes again, {_WINDOWS} goes on with the new topic as it is",
    "windows": f"snapshots are of the old one; {_EVENTS} makes the windows again, {_WINDOWS} begins with what is there",
}
#: Topic -> what it means that its number of partitions changed, and the way out.
_REPARTITIONED: dict[Bound, str] = {
    "events": (
        "keys have moved, so a prediction and its label that come before and after the change are not joined; "
        f"{_WINDOWS} accepts that and goes on"
    ),
    "outcomes": f"{_WINDOWS} goes on with the new number",
    "windows": f"models have moved to other partitions, away from their history; {_WINDOWS} moves their history after them",
    "join": (
        "keys have moved, and what waits for labels stays where it was, so those pairs are not joined; give it as many "
        f"partitions as the events topic has, then {_WINDOWS} accepts that and goes on"
    ),
    "rows": (
        "keys have moved, so rows before and after the change are in other partitions; give it as many partitions as the events "
        f"topic has, then {_WINDOWS} goes on with the new number"
    ),
}


def current(kafka: KafkaSettings) -> Binding:
    """Return what a deployment with these settings would be bound to now.

    Raises:
        UnavailableError: Kafka is away.
    """
    names = {name: topic_name(kafka.prefix, topic) for name, topic in _TOPICS.items()}
    cluster = describe(kafka, names.values())
    topics = {
        short: BoundTopic(cluster.topics[name].id, cluster.topics[name].partitions)
        for short in get_args(Bound)
        if (name := names[short]) in cluster.topics
    }
    return Binding(cluster.id, kafka.prefix, topics)


def recorded(store: Store) -> Binding | None:
    """Return the record, None before the first worker.

    Raises:
        StateError: it was altered, signed with another key, or is of a newer Driftline.
        UnavailableError: Redis is away.
    """
    return _read(store, None)


def bind(store: Store, now: Binding) -> None:
    """Return if the state under the prefix belongs to what is there now; the first to come decides.

    Raises:
        StateError: it belongs to something else, or a rebuild has not finished.
        UnavailableError: Redis is away.
    """
    bound = _read(store, now)
    if bound is not None:
        compare(bound, now, store.prefix)


def replace(store: Store, binding: Binding) -> None:
    """Let the record be this one, whatever it was."""
    store.bind_anew(_encoder.encode(binding))


def require_own(store: Store, now: Binding) -> None:
    """Return if the prefix is nobody's yet, or this deployment's, whatever became of its topics.

    Raises:
        StateError: it is another deployment's.
        UnavailableError: Redis is away.
    """
    bound = _read(store, None)
    if bound is not None and not same_deployment(bound, now):
        raise StateError(_foreign(bound, now, store.prefix))


def compare(bound: Binding, now: Binding, redis_prefix: str) -> None:
    """Return if nothing changed.

    Raises:
        StateError: names every change with its way out.
    """
    if not same_deployment(bound, now):
        raise StateError(_foreign(bound, now, redis_prefix))
    if bound.rebuilding is not None:
        raise StateError(
            f"`driftline rebuild --from {bound.rebuilding}` was begun under [redis] prefix {redis_prefix} and has not finished: "
            "run it again with the workers stopped, then start them"
        )
    found = [change for change in changes(bound, now) if change.refused]
    if found:
        raise StateError("; ".join(_sentence(now.prefix, change) for change in found) + "; stop all workers before a rebuild")


def same_deployment(bound: Binding, now: Binding) -> bool:
    """Tell whether both are on the same cluster with the same topics' prefix; an unknown cluster id may be any."""
    clusters = {bound.cluster, now.cluster} - {None}
    return len(clusters) < 2 and bound.prefix == now.prefix


def changes(bound: Binding, now: Binding) -> list[TopicChange]:
    """Return the topics that are not what they were."""
    pairs = [TopicChange(name, bound.topics[name], topic) for name, topic in now.topics.items() if name in bound.topics]
    return [change for change in pairs if change.recreated or change.repartitioned]


def _sentence(prefix: str, change: TopicChange) -> str:
    topic = f"topic {prefix}.{change.name}"
    if change.recreated and change.name in _RECREATED:
        return (
            f"{topic} was created again under its name: the state was made with id {change.before.id}, now it is "
            f"{change.now.id}: {_RECREATED[change.name]}"
        )
    return (
        f"{topic} has {change.now.partitions} partitions, the state was made with {change.before.partitions}: "
        f"{_REPARTITIONED[change.name]}"
    )


def _foreign(bound: Binding, now: Binding, redis_prefix: str) -> str:
    return (
        f"[redis] prefix {redis_prefix} belongs to topics {bound.prefix}.* of Kafka cluster {bound.cluster}, this is "
        f"{now.prefix}.* of {now.cluster}: set another [redis] prefix; or, if that deployment is gone for good, "
        "take its state over with `driftline rebuild --from windows --allow-loss`"
    )


def _read(store: Store, first: Binding | None) -> Binding | None:
    """Return the record that stands, after writing `first` if none did."""
    try:
        payload = store.binding() if first is None else store.bind(_encoder.encode(first))
    except SignatureError as error:
        raise SignatureError(
            f"[redis] prefix {store.prefix}: {error}; if another deployment has this prefix, set another one here; "
            "if the key was changed on purpose, `driftline rebuild --from windows --allow-loss` begins anew with it"
        ) from None
    if payload is None:
        return None
    try:
        head = _head.decode(payload)
        if head.format > FORMAT:
            raise StateError(
                f"the binding of [redis] prefix {store.prefix} has format {head.format}, which is newer than {FORMAT}, "
                "the newest that this Driftline reads: run the Driftline that wrote it"
            )
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise StateError(
            f"the binding of [redis] prefix {store.prefix} cannot be read ({error}): run the Driftline that wrote it"
        ) from None
