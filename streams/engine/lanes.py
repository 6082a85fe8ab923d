"""Lanes: how far each agent has come in each partition, and how that becomes durable.

Rules:
1. A lane is the progress of one agent in one partition. Its *stage* has the state; the lane has the
   offsets: `position` (next to be fed) and `durable` (where to start after a crash).
2. Feeding a batch changes the state and the stage's outbox in one step, without awaiting in between.
3. A flush takes a checkpoint of outbox and state at one moment, sends the messages, awaits the
   acknowledgements, stores the state, and only then moves `durable`. Kafka may commit the least
   `durable` of a partition's lanes.
4. Feeding never raises into Faust, which would acknowledge the batch. After any error, or a flush that
   was broken off, the partition is *rewound*: its state is dropped, loaded and fed again. A crash takes
   the same path.
5. A record at which feeding failed three times goes to the dead letters, and the lane steps over it.
6. A batch of another epoch is ignored. A batch that starts beyond `position` leaves a hole: rewind.
7. A batch that was fetched and will not come any more leaves one too (streams/engine/lost_batches.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from faust.types import TP

from detectors.errors import DriftlineError, EventError, StateError, UnavailableError
from streams.engine.checkpoint import Checkpoint
from streams.engine.lost_batches import Arrivals
from streams.engine.stage import Stage
from streams.engine.transport import LogState, Reach
from streams.kafka import Sender
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.patience import Backoff, LogLimit
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings
from streams.state.store import FencedError

_LOG = logging.getLogger("driftline.worker")

#: Failures at one record before it goes to the dead letters.
_STRIKES = 3
#: Pauses between rewinds while a service is away, in seconds, and when to give up.
_PAUSES, _PATIENCE = Backoff(0.2, 5.0), 300.0
#: Messages in a lane's outbox, or bytes fed, from which feeding waits for a flush.
_FULL = 20_000
_FULL_BYTES = 32 << 20
#: Longest time of the last flush before a stop or a rebalance: all of a stop takes five seconds at most.
_LAST_FLUSH_SECONDS = 2.5
#: Gauges about the partitions that a worker owns.
_OF_PARTITIONS = (
    "driftline_incidents_open",
    "driftline_drifted_feature",
    "driftline_reference_learning",
    "driftline_budget_spent_ratio",
    "driftline_watermark_seconds",
    "driftline_watermark_age_seconds",
    "driftline_watermark_skew_seconds",
    "driftline_window_close_delay_seconds",
    "driftline_lag_records",
    "driftline_unread_records",
    "driftline_snapshot_bytes",
    "driftline_join_waiting",
    "driftline_join_bytes",
    "driftline_join_oldest_seconds",
    "driftline_join_share",
    "driftline_join_load_seconds",
)


class Rewinder(Protocol):
    """The part of the consumer that lanes need."""

    async def rewind(self, tps: Iterable[TP]) -> None:
        """Load the state of partitions again and read on from its offset."""

    def reach(self) -> Mapping[TP, Reach]:
        """Return how far each partition was fetched since it was moved last."""


StageMaker = Callable[[TP, LogState], Awaitable[Stage]]


class Lane:
    """One agent in one partition."""

    __slots__ = ("agent", "busy", "durable", "epoch", "late", "position", "stage", "tp", "unflushed")

    def __init__(self, agent: str, tp: TP, stage: Stage, epoch: int, position: int) -> None:
        self.agent = agent
        self.tp = tp
        self.stage = stage
        self.epoch = epoch
        self.position = position
        self.durable: int | None = None
        self.busy = asyncio.Lock()
        #: Whether a last flush was not in time: the next one (a stop asks twice) does not wait for it again.
        self.late = False
        #: Bytes fed since the last checkpoint: the messages that wait have about that size.
        self.unflushed = 0


class Lanes:
    """All lanes of a worker; the transport's `Progress`."""

    def __init__(
        self, kafka: KafkaSettings, sender: Sender, metrics: Metrics, makers: Mapping[str, Mapping[str, StageMaker]]
    ) -> None:
        """`makers`: topic name -> agent name -> maker of its stages."""
        self._kafka = kafka
        self._sender = sender
        self._metrics = metrics
        self._makers = makers
        self._lanes: dict[tuple[str, TP], Lane] = {}
        self._rewinder: Rewinder | None = None
        self._rewinding: dict[TP, asyncio.Task[None]] = {}
        self._strikes: dict[tuple[str, TP], dict[int, int]] = {}
        self._careful: set[tuple[str, TP]] = set()
        self._pauses: dict[TP, float] = {}
        #: Agent and partition -> since when nothing becomes durable, and from which offset a restart would read.
        self._failing_since: dict[tuple[str, TP], tuple[float, int]] = {}
        self._log_limit = LogLimit()
        self._arrivals = Arrivals()

    def attach(self, rewinder: Rewinder) -> None:
        """Let this rewinder move the fetch position."""
        self._rewinder = rewinder

    # -- what the transport asks ---------------------------------------------------------------

    async def restore(self, epoch: int, logs: Mapping[TP, LogState]) -> dict[TP, int]:
        """Make new lanes for the partitions and return where each is to be read from."""
        positions: dict[TP, int] = {}
        for tp, log in logs.items():
            lanes = [await self._begin(agent, maker, tp, log, epoch) for agent, maker in self._makers.get(tp.topic, {}).items()]
            for lane in lanes:
                self._lanes[lane.agent, tp] = lane
            positions[tp] = min((lane.position for lane in lanes), default=log.end)
        return positions

    async def _begin(self, agent: str, maker: StageMaker, tp: TP, log: LogState, epoch: int) -> Lane:
        began = time.monotonic()
        while True:
            try:
                stage = await maker(tp, log)
                return Lane(agent, tp, stage, epoch, stage.start)
            except UnavailableError as error:
                self._say(str(error))
                if time.monotonic() - began > _PATIENCE:
                    self._give_up(error)
                await asyncio.sleep(_PAUSES.first)
            except StateError as error:
                self._give_up(error)

    def durable(self, tp: TP) -> int | None:
        """Return the least durable offset of the partition's lanes, None if one has none yet."""
        offsets = [lane.durable for (_, of), lane in self._lanes.items() if of == tp]
        known = [offset for offset in offsets if offset is not None]
        return min(known) if known and len(known) == len(offsets) else None

    async def flush(self, timeout_seconds: float) -> None:
        """Make every lane durable, side by side; a lane that cannot be in time stays as it was."""
        lanes = [lane for lane in self._lanes.values() if not lane.late]
        tasks = {asyncio.create_task(self._flush(lane, final=True)): lane for lane in lanes}
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=min(timeout_seconds, _LAST_FLUSH_SECONDS))
            for task in late:
                tasks[task].late = True
                task.cancel()

    def revoke(self, tps: Iterable[TP]) -> None:
        """Forget the lanes of partitions that are gone."""
        gone = set(tps)
        for key in [key for key in self._lanes if key[1] in gone]:
            del self._lanes[key]
        for tp in gone:
            task = self._rewinding.pop(tp, None)
            if task is not None:
                task.cancel()
        # A failure of an hour ago must not end this worker when the partition comes back.
        for of in [of for of in self._failing_since if of[1] in gone]:
            del self._failing_since[of]
        # The gauges of a partition that another worker owns would never change again here. Those of our own
        # partitions are set again by the next flush.
        for name in _OF_PARTITIONS:
            self._metrics.clear(name)

    # -- what the agents do --------------------------------------------------------------------

    async def add(self, agent: str, batch: Batch) -> None:
        """Feed a batch to an agent's lane; never raises."""
        with self._arrivals.at_work(agent, batch):
            await self._feed_or_rewind(agent, batch)

    async def _feed_or_rewind(self, agent: str, batch: Batch) -> None:
        lane = self._lanes.get((agent, batch.tp))
        if lane is None or lane.epoch != batch.epoch or batch.end <= lane.position:
            return
        if batch.start > lane.position:
            self._rewind(lane, f"batch starts at {batch.start}, expected {lane.position}", pause=False)
            return
        try:
            await self._feed(lane, batch)
        except UnavailableError as error:
            self._rewind(lane, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the answer is to read again
            _LOG.debug("feeding %s failed", lane.agent, exc_info=error)
            self._rewind(lane, f"{type(error).__name__}: {error}")

    async def _feed(self, lane: Lane, batch: Batch) -> None:
        key = (lane.agent, lane.tp)
        if key in self._careful:
            await self._feed_carefully(lane, batch)
        else:
            try:
                await lane.stage.feed(batch, lane.position)
            except UnavailableError:
                raise
            except Exception:
                self._careful.add(key)  # next time one by one, to find the record
                raise
            lane.position = batch.end
        lane.unflushed += batch.size
        if lane.unflushed > _FULL_BYTES or len(lane.stage.outbox) > _FULL:
            await self._flush(lane)

    async def _feed_carefully(self, lane: Lane, batch: Batch) -> None:
        """Feed record by record; one that has failed too often is dead-lettered and stepped over."""
        key = (lane.agent, lane.tp)
        strikes = self._strikes.setdefault(key, {})
        for record in batch.records(lane.position):
            single = batch.alone(record, lane.position)
            if strikes.get(record.offset, 0) >= _STRIKES:
                error = EventError("failed", "", f"agent {lane.agent} failed {_STRIKES} times at this record")
                lane.stage.outbox.add(dead_letter(self._kafka, batch.tp, record, error))
                self._metrics.count("driftline_dead_letters_total", reason="failed")
            else:
                try:
                    await lane.stage.feed(single, lane.position)
                except UnavailableError:
                    raise
                except Exception:
                    strikes[record.offset] = strikes.get(record.offset, 0) + 1
                    raise
            lane.position = single.end
        if not any(offset >= lane.position for offset in strikes):
            self._careful.discard(key)
            del self._strikes[key]

    # -- flushing ------------------------------------------------------------------------------

    async def flush_forever(self, interval_seconds: float) -> None:
        """Flush every lane again and again; a slow one does not hold up the others."""
        running: dict[Lane, asyncio.Task[None]] = {}
        while True:
            await asyncio.sleep(interval_seconds)
            self.find_lost()
            running = {lane: task for lane, task in running.items() if not task.done()}
            for lane in list(self._lanes.values()):
                if lane not in running:
                    running[lane] = asyncio.create_task(self._flush(lane))

    async def _flush(self, lane: Lane, *, final: bool = False) -> None:
        async with lane.busy:
            if self._lanes.get((lane.agent, lane.tp)) is not lane:
                return
            began = time.monotonic()
            try:
                checkpoint = lane.stage.checkpoint(lane.position, final=final)
                lane.unflushed = 0
                if checkpoint is None:
                    return
                await self._make_durable(lane, checkpoint)
            except FencedError as error:
                self._rewind(lane, str(error))
            except UnavailableError as error:
                self._rewind(lane, str(error))
            except Exception as error:  # noqa: BLE001 - a flush that failed for any reason is done again
                _LOG.debug("flushing %s failed", lane.agent, exc_info=error)
                self._rewind(lane, f"{type(error).__name__}: {error}")
            except asyncio.CancelledError:
                # The messages of this checkpoint are lost: the next flush would let the offset pass them.
                self._rewind(lane, "its flush was broken off", pause=False)
                raise
            else:
                self._metrics.observe("driftline_flush_seconds", time.monotonic() - began, agent=lane.agent)
                self._pauses.pop(lane.tp, None)
                self._failing_since.pop((lane.agent, lane.tp), None)

    async def _make_durable(self, lane: Lane, checkpoint: Checkpoint) -> None:
        await self._sender.send_all(checkpoint.outgoing)
        await self._sender.send_all(checkpoint.state)
        if checkpoint.complete is not None:
            await checkpoint.complete()
        if checkpoint.durable is not None:
            lane.durable = checkpoint.durable if lane.durable is None else max(lane.durable, checkpoint.durable)

    # -- rewinding -----------------------------------------------------------------------------

    def find_lost(self) -> None:
        """Rewind each lane that misses a batch which will not come any more."""
        reach = self._rewinder.reach() if self._rewinder is not None else {}
        for lane in list(self._lanes.values()):
            fetched = reach.get(lane.tp)
            behind = fetched is not None and fetched.epoch == lane.epoch and lane.position < fetched.end
            if fetched is not None and behind and self._arrivals.all_came(lane.agent, lane.tp.topic, fetched):
                self._rewind(lane, f"what was fetched up to {fetched.end} has not come", pause=False)

    def _rewind(self, lane: Lane, why: str, *, pause: bool = True) -> None:
        """Drop the state of the lane's partition and read it again, after a pause that grows."""
        if self._lanes.get((lane.agent, lane.tp)) is not lane:
            return
        for key in [key for key in self._lanes if key[1] == lane.tp]:
            del self._lanes[key]
        self._metrics.count("driftline_rewinds_total", agent=lane.agent)
        if pause:  # a hole is no failure, so it is read again at once
            where = f"{lane.agent} {lane.tp.topic}/{lane.tp.partition}"
            self._say(f"{where} at offset {lane.position}: {why}; reading again", kind=where)
            start = lane.stage.start if lane.durable is None else lane.durable
            since, failed_at = self._failing_since.get((lane.agent, lane.tp), (time.monotonic(), start))
            if start > failed_at:  # something became durable meanwhile, so this is a new failure
                since = time.monotonic()
            self._failing_since[lane.agent, lane.tp] = since, start
            if time.monotonic() - since > _PATIENCE:
                self._give_up(UnavailableError(why))
        seconds = self._pauses.get(lane.tp, _PAUSES.first) if pause else 0.0
        self._pauses[lane.tp] = _PAUSES.after(seconds)
        self._rewinding[lane.tp] = asyncio.create_task(self._rewind_later(lane.tp, seconds))

    async def _rewind_later(self, tp: TP, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                if self._rewinder is not None:
                    await self._rewinder.rewind([tp])
            except DriftlineError as error:
                self._say(str(error))
            except Exception as error:  # noqa: BLE001 - the broker may be away: try again
                where = f"{tp.topic}/{tp.partition}"
                self._say(f"{where}: cannot read again yet ({type(error).__name__}: {error})", kind=where)
            else:
                return
            seconds = _PAUSES.after(seconds)

    def _say(self, text: str, *, kind: str = "") -> None:
        """Log one kind of trouble once a minute."""
        if self._log_limit.due(kind):
            _LOG.warning("%s", text)

    def _give_up(self, error: DriftlineError) -> None:
        """End the process at once: recovery from a crash is the path that is tested."""
        _LOG.error("%s", error)
        logging.shutdown()
        os._exit(error.exit_code)

    # -- looking -------------------------------------------------------------------------------

    def stages(self, agent: str) -> Sequence[tuple[TP, Any]]:
        """Return the stages of an agent by partition."""
        return [(tp, lane.stage) for (name, tp), lane in self._lanes.items() if name == agent]

    def restarts(self) -> dict[TP, int]:
        """Return the offset of each partition from which a restart would read."""
        found: dict[TP, int] = {}
        for (_, tp), lane in self._lanes.items():
            start = lane.stage.start if lane.durable is None else lane.durable
            found[tp] = min(found.get(tp, start), start)
        return found

    def positions(self) -> dict[TP, int]:
        """Return the least position of each partition's lanes."""
        found: dict[TP, int] = {}
        for (_, tp), lane in self._lanes.items():
            found[tp] = min(found.get(tp, lane.position), lane.position)
        return found
