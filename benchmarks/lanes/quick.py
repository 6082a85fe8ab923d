"""The quick lane: the quick form of each benchmark, one after another, and whether its figures are within their bounds.

What is missing on the machine skips a benchmark and is named; with CI=true it fails, because CI installs everything but the
data sets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.lanes.lane import BenchmarkLane, Need
from benchmarks.lanes.running import BenchmarkRun, run
from benchmarks.progress import Say
from benchmarks.quality.seasonal import DATA, SOURCES
from detectors.errors import UnavailableError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import redis_binary
from driftline.text.tables import show_table

#: All quick forms together, by their shares.
QUICK_SECONDS = 35 * 60.0
#: A run is stopped at so many times its share: machines differ.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class QuickResult:
    """What became of one quick form.

    Args:
        lane: the benchmark.
        result: whether its figures are within their bounds; `skipped` if something is missing on this machine.
        faults: sentences that say what is wrong, or what is missing.
        run: the run, None if there was none.
    """

    lane: BenchmarkLane
    result: Literal["passed", "failed", "skipped"]
    faults: tuple[str, ...]
    run: BenchmarkRun | None = None


def quick(lanes: Sequence[BenchmarkLane], home: Path, *, say: Say) -> list[QuickResult]:
    """Run the quick form of some benchmarks; their logs stand in `home`."""
    return [_played(lane, home, f"{number} of {len(lanes)}: {lane.name}", say) for number, lane in enumerate(lanes, 1)]


def _played(lane: BenchmarkLane, home: Path, title: str, say: Say) -> QuickResult:
    absent = missing(lane.needs)
    if absent:
        # CI installs servers; the data sets are not shipped, so nobody can.
        failed = os.environ.get("CI") == "true" and "servers" in lane.needs
        return QuickResult(lane, "failed" if failed else "skipped", (f"{lane.name} was not run: {absent}",))
    found = run(
        lane.name,
        lane.quick,
        log=home / f"{lane.name}.log",
        limit_seconds=PATIENCE * lane.share_seconds,
        tick=lambda seconds: say(f"{title}, {seconds:.0f} s of about {lane.share_seconds:.0f}"),
    )
    faults = faults_of(lane, found)
    return QuickResult(lane, "failed" if faults else "passed", tuple(faults), found)


def missing(needs: frozenset[Need]) -> str:
    """Return what a machine lacks for a benchmark, in words; empty if nothing."""
    try:
        if "servers" in needs:
            KafkaServer().stop()
            redis_binary()
    except UnavailableError as error:
        return str(error)
    if "data" in needs and not all((DATA / source.file).is_file() for source in SOURCES.values()):
        return "the data sets are not there; they are not shipped"
    return ""


def faults_of(lane: BenchmarkLane, found: BenchmarkRun) -> list[str]:
    """Return what is wrong with a run, a sentence for each fault."""
    if found.late:
        limit = f"{PATIENCE * lane.share_seconds:.0f} s, twice its share"
        return [f"{lane.name} was stopped after {limit}: take a smaller size in benchmarks/lanes/catalogue.py"]
    if found.status != 0:
        return [f"{lane.name} ended with status {found.status}; the end of its log {found.log}:\n{found.tail()}"]
    return [f"{lane.name}: {fault}" for bound in lane.bounds for fault in bound.faults(found.printed)]


def show(results: Sequence[QuickResult]) -> None:
    """Print the table, and on stderr a sentence for each fault."""
    rows = [
        [
            one.lane.name,
            f"{one.run.seconds:.0f}" if one.run else "-",
            f"{one.run.cpu_seconds:.0f}" if one.run else "-",
            f"{one.lane.share_seconds:.0f}",
            one.lane.checks,
            one.result,
        ]
        for one in results
    ]
    shares = sum(one.lane.share_seconds for one in results)
    runs = [one.run for one in results if one.run]
    seconds, cpu_seconds = sum(found.seconds for found in runs), sum(found.cpu_seconds for found in runs)
    rows.append(["all", f"{seconds:.0f}", f"{cpu_seconds:.0f}", f"{shares:.0f}", "", "passed" if passed(results) else "failed"])
    show_table(["benchmark", "seconds", "CPU s", "share", "what it checks", "result"], rows, "quick lane")
    sys.stdout.flush()
    for fault in (fault for one in results for fault in one.faults):
        sys.stderr.write(f"{fault}\n")


def passed(results: Sequence[QuickResult]) -> bool:
    """Whether no benchmark failed; one that was skipped did not."""
    return all(one.result != "failed" for one in results)


def as_json(results: Sequence[QuickResult]) -> dict[str, Any]:
    """Return the object of the last line."""
    return {
        "lane": "quick",
        "passed": passed(results),
        "benchmarks": {
            one.lane.name: {
                "result": one.result,
                "seconds": round(one.run.seconds, 1) if one.run else None,
                "cpu_seconds": round(one.run.cpu_seconds, 1) if one.run else None,
                "share_seconds": one.lane.share_seconds,
                "faults": list(one.faults),
            }
            for one in results
        },
    }
