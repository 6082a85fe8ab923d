"""Batch transport for Faust: one message per partition and fetch, whose value is the whole batch.

Registered as `kafkabatch://`. It is a subclass of Faust's aiokafka driver for two reasons: an agent that is
woken once per record cannot go faster than about ten thousand events a second, and Faust commits what its
own bookkeeping calls acknowledged, which is not what is durable here.

Rules:
1. The *durable offset* of a partition (`Progress.durable`) is committed, never Faust's acknowledgements:
   those are off by one at gaps, and do not move when the first fetch is one message at offset zero.
2. After an assignment every partition starts where `Progress.restore` says, not at Kafka's committed
   offset: the snapshot wins, in both directions.
3. Every move of the fetch position begins a new *epoch* of the partition. A batch carries its epoch
   and the offset at which it was to start, so a reader recognises stale batches and holes. The consumer's
   thread, which has the position, stamps both in the step that takes the records: so a fetch that overlaps
   a move has the epoch before it.
4. Before partitions go, or the process stops, everything in memory is made durable, then committed.
5. Aborted transactions are not read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiokafka.errors import KafkaError  # type: ignore[import-untyped] # aiokafka carries no types
from faust.serializers import codecs
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message

from streams.engine import fetch
from streams.kafka.batch import Batch, RecordColumns

_LOG = logging.getLogger("faust.driftline")

__all__ = ["Batch", "Consumer", "KafkaError", "Progress", "Reach", "Transport"]

#: How long a graceful stop or a rebalance may take to make things durable, in seconds.
_FLUSH_SECONDS = 4.0
#: How long the broker may hold a fetch that finds nothing.
_FETCH_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class LogState:
    """A partition as the broker has it.

    Args:
        committed: committed offset, None if nothing was ever committed.
        first: offset of the first record that retention left.
        end: offset after the last record.
    """

    committed: int | None
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a partition was fetched.

    Args:
        epoch: epoch of the partition, which the last move began.
        end: offset after the last record.
        number: number of the last batch.
        at: when the last batch was fetched, seconds of the monotonic clock.
    """

    epoch: int
    end: int
    number: int
    at: float


class Progress(Protocol):
    """What the transport asks of the reader of its batches, which is `app.progress` (streams/engine/lanes.py)."""

    async def restore(self, epoch: int, logs: Mapping[TP, LogState]) -> dict[TP, int]:
        """Load the state of the partitions and return where each is to be read from.

        Only batches of that epoch continue the state.
        """

    def durable(self, tp: TP) -> int | None:
        """Return the offset that may be committed, None if nothing may."""

    async def flush(self, timeout_seconds: float) -> None:
        """Make durable what can be made so in that time."""

    def revoke(self, tps: Iterable[TP]) -> None:
        """Forget partitions that are gone."""


class _Identity(codecs.Codec):
    """A codec that leaves a batch as it is."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


codecs.register("batch", _Identity())


class _Unread(dict[TP, int | None]):
    """Read offsets that are always None: with Faust's own it would drop batches after a rewind."""

    def __getitem__(self, key: TP) -> int | None:
        return None

    def __setitem__(self, key: TP, value: int | None) -> None:
        pass


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its thread, reading committed data only."""

    logger = _LOG

    def _create_worker_consumer(self, transport: Any) -> Any:
        fetch.install()
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - Faust offers no setting for it
        # Faust's 1.5 s are harmless where new records end the wait; librdkafka's mock broker waits it out.
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS  # noqa: SLF001 - as above
        return consumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places: dict[TP, _Place] = {}
        self._batches = 0

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        found = await super()._fetch_records(*args, **kwargs)
        # No await from here on: the position cannot move between the records and their stamp.
        return {tp: self._stamp(TP(tp.topic, tp.partition), stretches) for tp, stretches in found.items() if stretches}

    def _stamp(self, tp: TP, stretches: list[RecordColumns]) -> Batch:
        place = self._places.setdefault(tp, _Place(epoch=-1, position=stretches[0].offsets[0]))
        self._batches += 1
        batch = Batch(tp, place.epoch, place.position, stretches, self._batches)
        place.position, place.number, place.at = batch.end, batch.number, time.monotonic()
        return batch

    def reach(self) -> dict[TP, Reach]:
        """Return how far each partition was fetched since it was moved last; another thread may ask."""
        places = dict(self._places)  # one step, whoever writes meanwhile
        return {tp: Reach(place.epoch, place.position, place.number, place.at) for tp, place in places.items() if place.number}

    async def place(self, epoch: int, positions: Mapping[TP, int]) -> None:
        """Move the fetch position of partitions and begin their next epoch."""
        await self.call_thread(self._move, epoch, positions)

    async def _move(self, epoch: int, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in positions.items():
            target = driver.ensure_aiokafka_TP(tp)
            if target in assigned:
                consumer.seek(target, offset)
                self._places[tp] = _Place(epoch, offset)

    async def known(self, tps: Iterable[TP]) -> dict[TP, LogState]:
        """Return what the broker says of partitions."""
        return cast("dict[TP, LogState]", await self.call_thread(self._known, list(tps)))

    async def _known(self, tps: list[TP]) -> dict[TP, LogState]:
        consumer = self._ensure_consumer()
        targets = {tp: driver.ensure_aiokafka_TP(tp) for tp in tps}
        committed = {tp: await consumer.committed(target) for tp, target in targets.items()}
        first = await consumer.beginning_offsets(list(targets.values()))
        end = await consumer.end_offsets(list(targets.values()))
        return {tp: LogState(committed[tp], first[target], end[target]) for tp, target in targets.items()}


@dataclass(slots=True)
class _Place:
    """The fetch position of a partition, and the epoch that its last move began."""

    epoch: int
    position: int
    #: Number of the last batch since that move, 0 before the first; when it was fetched.
    number: int = 0
    at: float = 0.0


class Consumer(driver.Consumer):
    """A consumer that hands out batches and commits durable offsets."""

    logger = _LOG
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _Unread()
        self._epoch = 0
        self._moving = asyncio.Lock()

    @property
    def progress(self) -> Progress:
        """The reader of the batches."""
        return cast("Progress", self.app.progress)  # type: ignore[attr-defined]

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- reading -------------------------------------------------------------------------------

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's own signature
        """Yield one message per partition that the fetch brought records of."""
        generation = self.app.consumer_generation_id
        found, _active = await self._wait_next_records(timeout)
        if not found or self.should_stop:
            return
        for batch in cast("dict[TP, Batch]", found).values():
            # A batch that is not handed out leaves a hole: its reader sees it at the next batch, or by `reach`.
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            yield batch.tp, self._message(batch)

    def _message(self, batch: Batch) -> ConsumerMessage:
        return ConsumerMessage(
            batch.tp.topic,
            batch.tp.partition,
            batch.offsets[-1],
            float(batch.timestamps[-1]) / 1000.0,
            0,
            [],
            None,
            cast("bytes", batch),
            None,
            tp=batch.tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Start every assigned partition at the offset of its state (Faust calls it after a rebalance)."""
        await self.rewind(self.assignment())

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Load the state of partitions again and read on from its offset."""
        async with self._moving:
            assigned = self.assignment()
            wanted = [TP(tp.topic, tp.partition) for tp in tps if tp in assigned]
            if not wanted:
                return
            self._epoch += 1
            logs = await self._thread.known(wanted)
            positions = await self.progress.restore(self._epoch, logs)
            self._committed_offset.update({tp: logs[tp].committed for tp in wanted})
            await self._thread.place(self._epoch, positions)

    def reach(self) -> dict[TP, Reach]:
        """Return how far each partition was fetched since it was moved last."""
        return self._thread.reach()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Faust seeks here in table recovery only; positions are ours to set."""
        await self.rewind(partitions)

    # -- committing ----------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        self._acked.clear()
        self._acked_index.clear()
        return (TP(tp.topic, tp.partition) for tp in self.assignment() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.progress.durable(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps in the log need no bookkeeping: durable offsets step over them."""

    async def wait_empty(self) -> None:
        """Make everything in memory durable, then commit; called before partitions go and at the end."""
        try:
            await asyncio.wait_for(self.progress.flush(_FLUSH_SECONDS), _FLUSH_SECONDS + 1.0)
        except TimeoutError:
            self.log.warning("could not make everything durable in %g s; it will be read again", _FLUSH_SECONDS)
        self._unacked_messages.clear()
        await self.commit_and_end_transactions()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let Faust flush and commit, then forget the partitions that are gone."""
        await super().on_partitions_revoked(revoked)
        self.progress.revoke([TP(tp.topic, tp.partition) for tp in revoked])


class Transport(driver.Transport):
    """Faust's aiokafka transport with the consumer above."""

    Consumer = Consumer
