"""A rebuild: what is derived is made again, from the windows topic or from the events topic.

Rules:
1. Nobody else writes meanwhile: it is refused while a group it concerns has members, and from its first
   step to its last the binding (streams/state/binding.py) keeps workers from starting. Killed in between, it is
   run again; every step may be done twice.
2. `windows`: the judge's snapshots go, so the next workers judge the history from its beginning. Ids are
   hashes of causes: alerts come again with the same ids and bytes.
3. `events`: outcomes, windows, snapshots, training rows and the state of the join go, and the workers read the events
   from their beginning. Windows have to go because repeats of them would be ignored (detectors/model/channel.py, rule 3), and
   the state of the join because what was joined once is not joined again. It is in the topic of the join; a version
   before kept it in Redis, so what is left there goes too.
4. Decisions on retrains, and changes that were accepted, do not follow from events. They are carried over with
   their place in event time: written behind the old history before that is deleted.
5. What could not be made again is deleted only with `allow_loss`. Events, alerts, requests, swaps and
   models are never touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from detectors.errors import EventError, SignatureError, StateError, UnavailableError
from detectors.incidents.decision import Decided, Place
from detectors.model.aligner import WindowAligner
from detectors.windows.record import Kind, Mark
from streams.kafka import Log, Outgoing, Record, Sender, members, require_topics, set_offsets, truncate
from streams.records import window_codec, window_records
from streams.settings import KafkaSettings, Settings
from streams.state import binding
from streams.state.binding import Binding, Source
from streams.state.store import Store
from streams.topics import EVENTS, JOIN, OUTCOMES, ROWS, WINDOWS, Topic, topic_name

_WORKERS, _RETRAINERS = "worker", "retrainer"
#: Topics that hold offsets of the events topic: they go where it is another one, or is read anew.
_OF_EVENTS = (OUTCOMES, JOIN, ROWS)
_FLUSH_SECONDS = 60.0
#: Added to the session timeout before a member is believed to be alive.
_GRACE_SECONDS = 2.0
#: Cluster id of a binding that could not be read: like no other.
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rebuild is going to do.

    Args:
        source: what everything is made from.
        bound: what the state belongs to until the end of it.
        now: what it will belong to.
        empties: topics that are emptied -> how many records they hold.
        moves: the history has to follow models into other partitions.
        strange: the events topic is not the one that outcomes and waiting predictions were made from.
        losses: what cannot be made again, a sentence each.
    """

    source: Source
    bound: Binding
    now: Binding
    empties: Mapping[str, int]
    moves: bool
    strange: bool
    losses: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Return what is going to happen, for a human."""
        said = [f"{count:,} records of {topic} are deleted" for topic, count in self.empties.items() if count]
        if self.moves:
            said.append(f"the history in {self.now.prefix}.windows is moved to the partitions where its models are now")
        if self.source == "windows":
            said.append("the judge's state is deleted, and the next workers judge the history of windows from its beginning")
        else:
            said.append("the judge's state and the waiting predictions are deleted, and the next workers read all events again")
        return [*said, "alerts are told again under the ids they had; models, events and alerts stay as they are", *self.losses]


class Rebuild:
    """One run of `driftline rebuild`; a context manager that holds the connections."""

    def __init__(self, settings: Settings) -> None:
        """Connect lazily."""
        self._kafka: KafkaSettings = settings.kafka
        self._store = Store(settings.redis, settings.signing_key)
        self._log = Log(settings.kafka, "rebuild")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the broker."""
        self._log.close()

    # -- looking -------------------------------------------------------------------------------

    def plan(self, source: Source, *, allow_loss: bool = False) -> Plan:
        """Return what is going to be done, after making sure that it may be.

        Raises:
            StateError: a worker runs, another rebuild has to be finished first, or something would be lost.
            UnavailableError: Kafka or Redis is away, or a topic is missing.
        """
        there = require_topics(self._kafka, (EVENTS, OUTCOMES, WINDOWS))
        now = binding.current(self._kafka)
        bound, foreign = self._bound(now)
        if bound.rebuilding not in (None, source):
            raise StateError(
                f"`driftline rebuild --from {bound.rebuilding}` was begun and has not finished: finish that one first, "
                f"then `driftline rebuild --from {source}`"
            )
        changed = {change.name: change for change in binding.changes(bound, now)}
        strange = foreign or ("events" in changed and changed["events"].recreated)
        emptied = (*_OF_EVENTS, WINDOWS) if source == "events" else _OF_EVENTS if strange else ()
        # Topics of the join and of rows are missing in a deployment of the version before.
        empties = {name: self._count(topic) for topic in emptied if (name := topic_name(self._kafka.prefix, topic)) in there}
        moves = source == "windows" and "windows" in changed and not changed["windows"].recreated
        losses = [self._taken_over(bound)] if foreign else []
        losses += self._gone(source, empties, strange=strange)
        self._require_alone(retrainers=bool(emptied) or moves)
        if losses and not allow_loss:
            raise StateError("; ".join(losses) + "; --allow-loss goes on all the same")
        return Plan(source, bound, now, empties, moves, strange, tuple(losses))

    def _bound(self, now: Binding) -> tuple[Binding, bool]:
        """Return what the state belongs to, and whether that is another deployment, or nobody knows."""
        try:
            bound = binding.recorded(self._store)
        except SignatureError:
            return Binding(_UNKNOWN, now.prefix, {}), True
        if bound is None:
            return now, False
        return bound, not binding.same_deployment(bound, now)

    def _taken_over(self, bound: Binding) -> str:
        return (
            f"the state under [redis] prefix {self._store.prefix} is that of topics {bound.prefix}.* on Kafka cluster "
            f"{bound.cluster}, which cannot go on with it afterwards"
        )

    def _gone(self, source: Source, empties: Mapping[str, int], *, strange: bool) -> list[str]:
        """Return what cannot be made again, as no sentence or one."""
        derived = " and ".join(f"{count:,} records of {topic}" for topic, count in empties.items() if count)
        events = topic_name(self._kafka.prefix, EVENTS)
        removed = sum(first for first, _ in self._log.ends(events).values())
        if derived and strange:
            return [f"{derived} were made from an {events} topic that is gone, and cannot be made again"]
        if derived and removed and source == "events":
            trimmed = f"{events} no longer holds its first {removed:,} records (retention)"
            return [f"{trimmed}, so not all of {derived} can be made again (--from windows keeps them)"]
        return []

    def _count(self, topic: Topic) -> int:
        return sum(end - first for first, end in self._log.ends(topic_name(self._kafka.prefix, topic)).values())

    def _require_alone(self, *, retrainers: bool) -> None:
        """Return once the groups are empty; who ended without leaving counts as a member until its session is over."""
        patience = self._kafka.session_timeout_seconds + _GRACE_SECONDS
        deadline = time.monotonic() + patience
        for group in (_WORKERS, _RETRAINERS) if retrainers else (_WORKERS,):
            while found := members(self._kafka, group):
                if time.monotonic() > deadline:
                    raise StateError(
                        f"group {self._kafka.prefix}.{group} still has members after {patience:g} s ({', '.join(found)}): "
                        f"stop every {group} first"
                    )
                time.sleep(0.2)

    # -- doing ---------------------------------------------------------------------------------

    def carry_out(self, plan: Plan) -> Iterator[str]:
        """Do it, and yield a sentence after each step.

        Raises:
            UnavailableError: Kafka or Redis went away; running it again finishes it.
        """
        binding.replace(self._store, msgspec.structs.replace(plan.bound, rebuilding=plan.source))
        windows = topic_name(self._kafka.prefix, WINDOWS)
        if plan.source == "events":
            carried = self._carry(windows)
            yield f"{windows}: emptied" + (f", but for {carried:,} decisions on retrains and accepted changes" if carried else "")
        elif plan.moves:
            yield f"{windows}: {self._move(windows):,} records moved after their models"
        for topic in _OF_EVENTS:
            name = topic_name(self._kafka.prefix, topic)
            if name in plan.empties:
                truncate(self._kafka, name, {number: end for number, (_, end) in self._log.ends(name).items()})
                yield f"{name}: emptied"
        if plan.source == "events" or plan.strange:
            dropped = self._store.drop("pending")
            if dropped:
                yield f"{dropped:,} waiting predictions and labels in Redis dropped"
        dropped = self._store.drop("snapshot")
        yield f"{dropped} snapshots of the judge dropped"
        for topic in self._reread(plan):
            name = topic_name(self._kafka.prefix, topic)
            set_offsets(self._kafka, _WORKERS, name, {number: first for number, (first, _) in self._log.ends(name).items()})
            yield f"{name}: read again from its beginning"
        binding.replace(self._store, plan.now)

    def _reread(self, plan: Plan) -> list[Topic]:
        """Return the topics that the workers read from their beginning again."""
        if plan.source == "events" or plan.strange:
            return [EVENTS, OUTCOMES, WINDOWS]
        recreated = [change.name for change in binding.changes(plan.bound, plan.now) if change.recreated]
        return [OUTCOMES, WINDOWS] if "outcomes" in recreated else [WINDOWS]

    def _carry(self, topic: str) -> int:
        """Delete the history but for its decisions, which are placed; return how many these are."""
        ends = self._log.ends(topic)
        decisions = list(placed(record for _, record in self._in_order(topic, ends)))
        self._write(window_records.outgoing(self._kafka, decision) for decision in decisions)
        truncate(self._kafka, topic, {number: end for number, (_, end) in ends.items()})
        return len(decisions)

    def _move(self, topic: str) -> int:
        """Write the history again, so that each model's is where its key belongs now; return its length."""
        ends = self._log.ends(topic)
        written = self._write(
            Outgoing(topic, record.key, record.value, tuple(record.headers)) for record, _ in self._in_order(topic, ends)
        )
        truncate(self._kafka, topic, {number: end for number, (_, end) in ends.items()})
        return written

    def _in_order(self, topic: str, ends: Mapping[int, tuple[int, int]]) -> Iterator[tuple[Record, window_codec.HistoryRecord]]:
        """Yield what can be read before the given ends, each model's records in order and each decision once.

        Where a model's records are in several partitions, those of the partition it has moved to are the last.
        """
        newest: dict[bytes | None, dict[int, float]] = {}
        for record in self._read(topic, ends):
            newest.setdefault(record.key, {})[record.partition] = record.timestamp_seconds
        order = {key: sorted(times, key=lambda number: (times[number], number)) for key, times in newest.items()}
        decided: set[str] = set()
        for rank in range(max((len(numbers) for numbers in order.values()), default=0)):
            for record in self._read(topic, ends):
                numbers = order.get(record.key, [])
                if rank >= len(numbers) or numbers[rank] != record.partition:
                    continue
                try:
                    parsed = window_codec.parse(record.value)
                except EventError:
                    continue  # it is in the dead letters already
                if isinstance(parsed, Decided):
                    if parsed.id in decided:
                        continue
                    decided.add(parsed.id)
                yield record, parsed

    def _read(self, topic: str, ends: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
        starts = {number: first for number, (first, end) in ends.items() if end > first}
        if starts:
            yield from (record for record in self._log.read(topic, starts) if record.offset < ends[record.partition][1])

    def _write(self, messages: Iterator[Outgoing]) -> int:
        sender = Sender(self._kafka, "driftline-rebuild")
        failures: list[str] = []
        count = 0
        for message in messages:
            while not sender.send(message, failures.append):
                sender.poll(0.1)
            count += 1
        left = sender.close(_FLUSH_SECONDS)
        if left or failures:
            raise UnavailableError(
                f"Kafka did not take {left or len(failures)} records of {topic_name(self._kafka.prefix, WINDOWS)}"
                f"{f' ({failures[0]})' if failures else ''}: nothing was deleted; run the rebuild again"
            )
        return count


def placed(records: Iterator[window_codec.HistoryRecord]) -> Iterator[Decided]:
    """Yield the decisions of a history, each with the place that it has in event time."""
    streams: dict[str, dict[Kind, WindowAligner]] = {}
    for record in records:
        if isinstance(record, Mark):
            streams.setdefault(record.model, {}).setdefault(record.kind, WindowAligner()).advance(record)
        elif isinstance(record, Decided):
            mine = streams.get(record.model, {})
            reached = [until for aligner in mine.values() for until in aligner.until.values()]
            place = Place({kind: aligner.complete() for kind, aligner in mine.items()}, max(reached, default=0.0))
            yield record if record.place is not None else msgspec.structs.replace(record, place=place)
