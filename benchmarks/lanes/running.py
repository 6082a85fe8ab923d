"""One run of a benchmark in a process of its own: its time, its CPU time, what it printed.

Rules:
1. The process has a session of its own. One that exceeds its limit is asked to stop, so that its servers end in order; after a
   grace its whole process group is killed, and nothing else.
2. CPU seconds are those of the process and of all descendants that were waited for, its servers and workers among them.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline.servers.child import Child

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """How a run ended.

    Args:
        status: exit status, negative for a signal.
        seconds: by the clock.
        cpu_seconds: of the process and its descendants.
        late: whether it was stopped because it exceeded its limit.
        printed: the JSON object of its last line, empty if there is none.
        log: what it wrote to stdout and stderr.
    """

    status: int
    seconds: float
    cpu_seconds: float
    late: bool
    printed: dict[str, Any]
    log: Path

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def run(
    name: str, arguments: Sequence[str], *, log: Path, limit_seconds: float, tick: Callable[[float], None] = lambda _seconds: None
) -> BenchmarkRun:
    """Run a benchmark and return how it ended; `tick` is called now and then with the seconds since it began."""
    log.unlink(missing_ok=True)
    child = Child([sys.executable, "-m", f"benchmarks.{name}", *arguments], log=log, name=f"benchmarks.{name}")
    before, began = _cpu_seconds(), time.monotonic()
    late = False
    child.start()
    try:
        while child.wait(_LOOK_SECONDS) is None and not late:
            tick(time.monotonic() - began)
            late = time.monotonic() - began > limit_seconds
    finally:
        child.stop(_GRACE_SECONDS)  # nothing to do if it has ended
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its session: what it started and left behind
    seconds, cpu_seconds = time.monotonic() - began, _cpu_seconds() - before
    return BenchmarkRun(child.exit_status or 0, seconds, cpu_seconds, late, _last_object(log), log)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _last_object(log: Path) -> dict[str, Any]:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
