"""What benchmarks of running processes share: cores, what a process used, real servers, slopes, the table.

Rules:
1. What is measured has a core of its own; broker, Redis, feeder and the benchmark itself share the others.
2. What a process used is read from /proc, so nothing is added to the process that is measured.
3. Servers are private, on free ports of 127.0.0.1, with directories that are removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.errors import DriftlineError, UnavailableError
from driftline.cli.processor import advise_numpy
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from driftline.text.tables import show_table

__all__ = ["BenchmarkServers", "Cores", "Fit", "fit", "pin", "run", "servers", "show_table", "usage", "whole_number"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are for what is measured, and which for everything else; the same ones on a machine with one."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Return the last core that this process may use, and all of the others."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(frozenset(usable[-1:]), frozenset(usable[:-1] or usable))

    @property
    def all(self) -> frozenset[int]:
        """Every core."""
        return self.measured | self.others

    @property
    def words(self) -> str:
        """One sentence for the report."""
        if self.measured == self.others:
            return "one core for everything: what is measured shares it with the broker, so expect less than on two"
        return f"measured process on core {_listed(self.measured)}; broker, Redis and feeder on {_listed(self.others)}"


def _listed(cores: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def pin(pid: int, cores: Iterable[int]) -> None:
    """Keep every thread of a process, and all that it will start, on these cores."""
    wanted = set(cores)
    pinned: set[str] = set()
    # A thread that was started while the list was read has its own starter's cores: look until there is no new one.
    while new := {entry.name for entry in Path(f"/proc/{pid}/task").iterdir()} - pinned:
        for thread in new:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), wanted)
        pinned |= new


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used up to now: CPU seconds of all threads, resident bytes now and at most, open files."""

    cpu_seconds: float
    resident_bytes: int
    peak_bytes: int
    files: int


def usage(pid: int) -> Usage:
    """Return what a running process has used.

    Raises:
        UnavailableError: it has ended.
    """
    home = Path(f"/proc/{pid}")
    try:
        # the name, second and in brackets, may hold spaces
        fields = (home / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (home / "status").read_text().splitlines())
        files = len(list((home / "fd").iterdir()))
        resident, peak = (int(status[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    except (OSError, KeyError) as error:
        raise UnavailableError(f"process {pid} has ended while it was being measured ({type(error).__name__})") from None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND, resident, peak, files)


@dataclass(frozen=True, slots=True)
class BenchmarkServers:
    """A real Kafka, a real Redis, and a directory; `home` is removed with everything in it at the end."""

    kafka: KafkaServer
    redis: RedisServer
    home: Path
    cores: Cores


@contextlib.contextmanager
def servers(*, apart: bool = True) -> Iterator[BenchmarkServers]:
    """Start both servers and end them; `apart` keeps them, this process and its children off the measured core.

    Raises:
        UnavailableError: Java, Maven or redis-server is missing, or this is not Linux.
    """
    if sys.platform != "linux":
        raise UnavailableError("this benchmark pins processes to cores and reads /proc: run it on Linux")
    advise_numpy()  # all that is measured sorts alike, whoever wrote it
    cores = Cores.of_this_machine()
    if apart:
        pin(os.getpid(), cores.others)  # children inherit it
    with tempfile.TemporaryDirectory(prefix="driftline-benchmark-") as home, KafkaServer() as kafka, RedisServer() as redis:
        yield BenchmarkServers(kafka, redis, Path(home), cores)


@dataclass(frozen=True, slots=True)
class Fit:
    """A straight line through points: y = level + slope * x, `error` one standard error of the slope."""

    slope: float
    level: float
    error: float


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Return the line of least squares through at least two points of different x.

    >>> fit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    Fit(slope=2.0, level=1.0, error=0.0)
    """
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    centred = across - across.mean()
    spread = float(np.square(centred).sum())
    slope = float((centred * up).sum()) / spread
    level = float(up.mean()) - slope * float(across.mean())
    left = float(np.square(up - level - slope * across).sum())
    error = (left / max(1, len(across) - 2) / spread) ** 0.5
    return Fit(slope, level, error)


def whole_number(least: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number of at least so much."""

    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {value}")
        return value

    return read


def run(benchmark: Callable[[], tuple[dict[str, Any], int]]) -> None:
    """Run a benchmark, print its result as the last line and leave with its status; a fault is one line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that servers and directories go
    try:
        result, status = benchmark()
    except DriftlineError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(result))
    sys.exit(status)
