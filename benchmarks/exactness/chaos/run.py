"""One run: a fresh deployment over the whole input log, its workers, and the hands that disturb them.

Rules:
1. The whole log is in the topic before a worker starts, so workers go as fast as they can to the end.
2. A disturbance counts only while there is work: one that comes after the last window was judged is
   taken for none, and a scenario that disturbed too little has not been run.
3. A worker that ends by itself because a service is away (exit status 3) is started again, as its
   supervisor would, and counted. Any other status ends the run: that is no crash of ours.
4. The dice fall as the seed says; what the machine makes of the moments is different in every run.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.deployment import Deployment
from benchmarks.exactness.chaos.log import InputLog
from benchmarks.exactness.chaos.spare import CUE, WAITING
from detectors.errors import UnavailableError
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.kafka import Outgoing
from streams.topics import EVENTS, OUTCOMES, WINDOWS

_LOOK_SECONDS = 0.05
#: Without any progress for so long a run is stuck.
_STUCK_SECONDS = 120.0
_STOP_SECONDS = 20.0
_START_SECONDS = 60.0
#: What the log of a worker says once it has had partitions, and that of one that found itself a zombie.
_READY = "driftline worker: ready"
_FENCED = "lost the partition and stops writing"
#: Characters of a log in a message.
_TAIL = 800
#: Exit status of a worker that gave up waiting for Kafka or Redis.
_AWAY = 3


class BrokenError(RuntimeError):
    """A run cannot come to its end: nothing moves, or a worker fails; the ends of logs are in the message."""


@dataclass(frozen=True, slots=True)
class ChaosServers:
    """The broker and the Redis that all runs share."""

    kafka: KafkaServer
    redis: RedisServer


@dataclass
class DisturbedRun:
    """A deployment that is being disturbed.

    Args:
        deployment: whose topics hold the log already.
        total: records that a calm run writes to windows and outcomes; None in the calm run itself.
        figures: what was done to it, by name.
        faults: what no disturbance excuses.
        say: shows what goes on.
    """

    deployment: Deployment
    log: InputLog
    servers: ChaosServers
    dice: random.Random
    total: int | None
    say: Callable[[str], None]
    workers: list[Child] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _spares: list[Child] = field(default_factory=list)
    _finished: bool = False

    # -- workers -------------------------------------------------------------------------------

    def send(self) -> None:
        """Write the input log."""
        topic = self.deployment.name(EVENTS)
        size = len(self.log.entries)
        self.deployment.send(
            (Outgoing(topic, entry.key, entry.value, partition=entry.partition) for entry in self.log.entries),
            queued=lambda number: self.say(f"writing the log: {number:,} of {size:,}"),
        )
        wanted = {number: len(entries) for number, entries in enumerate(self.log.by_partition())}
        if (found := self.deployment.ends(EVENTS)) != wanted:
            raise RuntimeError(f"the log has other offsets than planned: {found} instead of {wanted}")

    def warm(self) -> None:
        """Begin to import one more worker, for later."""
        self._spares.append(self.deployment.start("worker", program="benchmarks.chaos.spare"))

    def begin(self, count: int = 1) -> None:
        """Let so many workers begin."""
        for _ in range(count - len(self._spares)):
            self.warm()
        for _ in range(count):
            self.workers.append(self._cued())

    def _cued(self) -> Child:
        if not self._spares:
            self.warm()
        spare = self._spares.pop(0)
        _wait_for(spare, WAITING)
        spare.signal(CUE)
        return spare

    def kill(self, worker: Child) -> None:
        """End a worker as a power cut would."""
        self.workers.remove(worker)
        worker.kill()
        self.figures["kills"] += 1

    def terminate(self, worker: Child) -> None:
        """Ask a worker to stop, and wait until it has."""
        self.workers.remove(worker)
        began = time.monotonic()
        status = worker.stop(_STOP_SECONDS)
        self.figures["stops"] += 1
        self.figures["longest_stop_ms"] = max(self.figures["longest_stop_ms"], round((time.monotonic() - began) * 1000))
        if status != 0 and _READY in worker.log.read_text(errors="replace"):  # before that it may not listen yet
            self.faults.append(f"a worker that got SIGTERM ended with status {status}: {worker.tail(_TAIL)}")

    def any_worker(self) -> Child:
        """Return a worker by chance."""
        return self.dice.choice(self.workers)

    def tend(self) -> None:
        """Start workers that ended by themselves again."""
        for worker in [worker for worker in self.workers if not worker.running]:
            self.workers.remove(worker)
            if worker.exit_status != _AWAY:
                raise BrokenError(f"a worker ended by itself with status {worker.exit_status}: {worker.tail(_TAIL)}")
            self.figures["gave_up"] += 1
            self.begin()

    def at_work(self) -> None:
        """Wait until every worker has had partitions and has gone on."""
        for worker in self.workers:
            _wait_for(worker, _READY)
        self.grown(1)

    # -- progress ------------------------------------------------------------------------------

    def written(self) -> int | None:
        """Return how many records stand in the windows and outcomes topics, None while the broker does not say."""
        with suppress(UnavailableError):
            return sum(sum(self.deployment.ends(topic).values()) for topic in (WINDOWS, OUTCOMES))
        return None

    def finished(self) -> bool:
        """Return whether everything was judged; once it was, no disturbance counts."""
        if not self._finished:
            with suppress(UnavailableError):
                self._finished = self._all_read() and self.deployment.judged_to_the_end(self.log.end)
        return self._finished

    def _all_read(self) -> bool:
        """Return whether summarise and join have stored what lies before the closing rows."""
        closing = {}
        for partition, entries in enumerate(self.log.by_partition()):
            closing[partition] = next(offset for offset, entry in enumerate(entries) if entry.closing)
        committed = self.deployment.committed(EVENTS)
        return all(committed.get(partition, 0) >= offset for partition, offset in closing.items())

    def moments(self, count: int) -> Iterator[int]:
        """Yield up to so many times, each at a moment while there is work: by chance, after some progress.

        One in five comes after no progress at all: while workers are starting or share out the partitions.
        """
        for number in range(count):
            self.grown(0 if self.dice.random() < 0.2 else self.dice.randint(1, self.share(count)))
            time.sleep(self.dice.uniform(0.0, 0.3))
            if self.finished():
                if 2 * number < count:
                    self.faults.append(f"the log ended after {number} of {count} disturbances: it is too short for this machine")
                return
            yield number
            self.figures["disturbed"] += 1

    def share(self, count: int) -> int:
        """Return so much progress that `count` times as much is a third of the work, in records written.

        The rest is done while the others go on: until a kill, and until partitions are shared out.
        """
        return max(1, round((self.total or 0) / (3 * count)))

    def grown(self, growth: int) -> None:
        """Wait until so many more records were written, or all work is done."""
        began = self.written()
        for _ in self._watching("progress"):
            now = self.written()
            began = now if began is None else began
            if self._finished or (now is not None and began is not None and now - began >= growth):
                return
            if now is not None and self.total is not None and now >= self.total and self.finished():
                return

    def pause(self, seconds: float) -> None:
        """Let the workers go on for so long."""
        time.sleep(seconds)
        self.tend()

    def again(self) -> None:
        """Everything is to be done once more, from the first record."""
        self._finished = False

    def to_the_end(self) -> None:
        """Wait until everything was judged and stop the workers in order."""
        for _ in self._watching("the end of the log"):
            if self.finished():
                break
            time.sleep(0.2)
        for worker in list(self.workers):
            self.terminate(worker)
        logs = [child.log.read_text(errors="replace") for child in self.deployment.children]
        self.figures["fenced"] = sum(log.count(_FENCED) for log in logs)

    def _watching(self, what: str) -> Iterator[None]:
        """Yield again and again, tending the workers, until nothing has moved for too long."""
        last, moved = self.written(), time.monotonic()
        while True:
            yield
            self.tend()
            time.sleep(_LOOK_SECONDS)
            now = self.written()
            if now is not None and now != last:
                last, moved = now, time.monotonic()
                self.say(f"{now:,} records written" if self.total is None else f"{now:,} of about {self.total:,} records written")
            if time.monotonic() - moved > _STUCK_SECONDS:
                tails = "\n".join(f"{worker.name} ({worker.pid}): {worker.tail(_TAIL)}" for worker in self.workers)
                raise BrokenError(f"waited {_STUCK_SECONDS:g} s for {what} and nothing moved:\n{tails}")


def _wait_for(worker: Child, text: str) -> None:
    """Return once a worker's log has the text."""
    worker.until(lambda: True if text in worker.log.read_text(errors="replace") else None, timeout_seconds=_START_SECONDS)


def freeze(worker: Child) -> None:
    """Stop a worker between two instructions, as a paused virtual machine is (SIGSTOP)."""
    worker.signal(signal.SIGSTOP)


def thaw(worker: Child) -> None:
    """Let a frozen worker go on, as if no time had passed."""
    worker.signal(signal.SIGCONT)
