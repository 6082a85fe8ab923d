"""How long `driftline --help` takes, from process start to exit: the median of ten runs, the aim is 0.2 s.

    python -m benchmarks.cli_start [--runs N]

Beside the clock stands CPU time, as a ratio to a Python that does nothing: it says how much is imported, however busy the machine
is. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import run, whole_number
from detectors.errors import UnavailableError

RUNS = 10
AIM_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StartTime:
    """One start: seconds of the clock and CPU seconds."""

    seconds: float
    cpu_seconds: float


def started(command: Sequence[str]) -> StartTime:
    """Run a command to its end and return how long it took."""
    before, began = _cpu_seconds(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return StartTime(time.perf_counter() - began, _cpu_seconds() - before)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(runs: int) -> dict[str, Any]:
    """Return the medians of so many starts.

    Raises:
        UnavailableError: there is no `driftline` command.
    """
    beside = Path(sys.executable).with_name("driftline")
    script = str(beside) if beside.exists() else shutil.which("driftline")
    if script is None:
        raise UnavailableError("no driftline command beside this Python or on PATH: run `make install`")
    started([script, "--help"])  # writes the byte code, as the first start of an installation does
    ours = [started([script, "--help"]) for _ in range(runs)]
    bare = [started([sys.executable, "-c", ""]) for _ in range(runs)]
    median = statistics.median(one.seconds for one in ours)
    cpu_seconds, bare_cpu_seconds = (statistics.median(one.cpu_seconds for one in found) for found in (ours, bare))
    return {
        "benchmark": "cli_start",
        "runs": runs,
        "median_seconds": round(median, 3),
        "slowest_seconds": round(max(one.seconds for one in ours), 3),
        "bare_python_seconds": round(statistics.median(one.seconds for one in bare), 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "cpu_ratio_to_bare_python": round(cpu_seconds / max(bare_cpu_seconds, 1e-3), 2),
        "aim_seconds": AIM_SECONDS,
        "met": median < AIM_SECONDS,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cli_start", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=whole_number(1), default=RUNS, help=f"starts of each command [{RUNS}]")
    arguments = parser.parse_args()
    run(lambda: (measure(arguments.runs), 0))


if __name__ == "__main__":
    main()
