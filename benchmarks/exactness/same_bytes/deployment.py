"""A private Kafka and Redis, and workers of either executable over a whole log.

Rules:
1. The whole log is on the topic before a worker starts. So a tick, which the clock decides, stands behind the
   closing rows of its partition and changes nothing before it.
2. A run is over when the workers have committed the events topic up to the closing rows, and the windows topic beyond
   the marks of all sources that reach the end of the log: alerts are sent before that.
3. A run that does not move for `_STUCK_SECONDS` has failed.
"""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.exactness.same_bytes.broker import PREFIX, TopicReader
from benchmarks.exactness.same_bytes.executable import Executable, FailedError
from benchmarks.exactness.same_bytes.left import TOPICS, marks
from benchmarks.exactness.same_bytes.log import ReplayedLog
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer

_STUCK_SECONDS = 180.0
#: A worker that is told to stop ends within five seconds; a machine that is busy may take longer.
_STOP_SECONDS = 30.0
_HTTP_SECONDS = 10.0
_REDIS_MB = 2048
_TAIL = 2000
_KINDS = ("features", "outcomes")
_SECRETS = {"DRIFTLINE_SIGNING_KEY": "a key that only this benchmark knows", "DRIFTLINE_DEBUG": "1"}

_SERVERS = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
partitions = {partitions}

[redis]
url = "{redis}"

[worker]
metrics_port = 0
"""


class RunningDeployment:
    """One deployment with the log on its topic."""

    def __init__(self, home: Path, broker: TopicReader, log: ReplayedLog, say: Callable[[str], None]) -> None:
        """Keep where it is; `say` is told what goes on."""
        self.home = home
        self.broker = broker
        self.log = log
        self._say = say
        self._workers: list[Child] = []

    def command(self, executable: Executable, *arguments: str) -> bytes:
        """Return what a command prints about this deployment; it has to succeed."""
        return executable.done("--config", "driftline.toml", *arguments, home=self.home, secrets=_SECRETS).stdout

    def start(self, executable: Executable) -> Child:
        """Start a worker."""
        worker = Child(
            [str(executable.path), "--config", str(self.home / "driftline.toml"), "worker"],
            log=self.home / f"worker-{len(self._workers)}.log",
            name=f"worker of {executable.path}",
            environment=_SECRETS,
        )
        self._workers.append(worker)
        return worker.start()

    def stop(self, worker: Child) -> None:
        """Stop a worker in order.

        Raises:
            FailedError: it ended otherwise.
        """
        if worker.stop(_STOP_SECONDS) != 0:
            raise FailedError(f"a worker told to stop ended with status {worker.exit_status}: {worker.tail(_TAIL)}")

    def kill_all(self) -> None:
        """End whatever still runs."""
        for worker in self._workers:
            worker.kill()

    def until(self, worker: Child, enough: Callable[[], bool]) -> bool:
        """Let a worker go on until it is enough; False if it ended by itself before.

        Raises:
            FailedError: nothing moves.
        """
        seen, moved = -1, time.monotonic()
        while True:
            now = self.broker.look()
            if enough():
                return True
            if not worker.running:
                return False
            if now != seen:
                seen, moved = now, time.monotonic()
                self._say(f"{now:,} records written")
            if time.monotonic() - moved > _STUCK_SECONDS:
                raise FailedError(f"nothing has moved for {_STUCK_SECONDS:g} s: {worker.tail(_TAIL)}")

    def share(self) -> float:
        """Return how far windows of features have come in event time, from 0 to 1, in the source that is the slowest."""
        reported = marks(self.broker.records["windows"])
        sources = [(model, "features", source) for model in self.log.models for source in range(self.log.partitions)]
        reached = min(reported[source][-1][0] if source in reported else self.log.begin for source in sources)
        return (reached - self.log.begin) / (self.log.end - self.log.begin)

    def finished(self) -> bool:
        """Tell whether everything before the closing rows was written and judged."""
        told = marks(self.broker.records["windows"])
        reach: list[tuple[int, int]] = []
        for model in self.log.models:
            for kind in _KINDS:
                for source in range(self.log.partitions):
                    found = told.get((model, kind, source), ())
                    first = next((record for until, record in found if until >= self.log.end), None)
                    if first is None:
                        return False
                    reach.append((first.partition, first.offset))
        events, windows = self.broker.committed("events"), self.broker.committed("windows")
        return all(events[partition] >= offset for partition, offset in self.log.closing.items()) and all(
            windows[partition] > offset for partition, offset in reach
        )

    def metrics(self, worker: Child) -> bytes:
        """Return the worker's /metrics.

        Raises:
            FailedError: it does not say where they are.
        """
        found = re.search(r"driftline worker: .*?(http://[^\s)]+)", worker.log.read_text())
        if found is None:
            raise FailedError(f"the worker does not say where its metrics are: {worker.tail(_TAIL)}")
        with urllib.request.urlopen(found.group(1), timeout=_HTTP_SECONDS) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def deployment(executable: Executable, home: Path, log: ReplayedLog, say: Callable[[str], None]) -> Iterator[RunningDeployment]:
    """Start the servers, let an executable create the topics, and write the log; all is gone at the end but `home`."""
    say("starting Kafka and Redis")
    with KafkaServer() as kafka, RedisServer(memory_mb=_REDIS_MB) as redis:
        home.mkdir(parents=True, exist_ok=True)
        servers = _SERVERS.format(bootstrap=kafka.bootstrap, prefix=PREFIX, partitions=log.partitions, redis=redis.url)
        (home / "driftline.toml").write_text(servers + "".join(log.models.values()), encoding="utf-8")
        with contextlib.closing(TopicReader(kafka.bootstrap)) as broker:
            made = RunningDeployment(home, broker, log, say)
            made.command(executable, "topics", "create")
            size = len(log.records)
            broker.send(log.records, lambda number: say(f"writing the log: {number:,} of {size:,}"))
            if added := broker.added("events", size):
                raise FailedError(f"the events topic has {added} records more than were sent")
            broker.follow(*TOPICS)
            try:
                yield made
            finally:
                made.kill_all()
