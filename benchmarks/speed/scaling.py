"""What a deployment needs at a rate, on paper: docs/scaling.md, derived from the constants at its top.

    python -m benchmarks.scaling [--write]

The constants are measured by the other benchmarks and stand in one table of the document; everything else in figures is
computed here from them. Without --write it is printed only. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.documents import ROOT, replaced
from benchmarks.machine import run
from detectors.errors import ConfigError
from driftline.text.tables import markdown
from streams.topics import DAY_SECONDS, EVENTS, WINDOWS

PAGE = ROOT / "docs" / "scaling.md"
#: Events a second of one hot model.
RATES = (1e4, 1e6, 1e8)

#: Every constant that the document has to give, and whether it is a choice or was measured.
CONSTANTS = (
    "worker_events_per_second",
    "event_bytes",
    "stored_event_bytes",
    "broker_write_microseconds",
    "broker_read_microseconds",
    "feature_window_bytes",
    "judge_feature_microseconds",
    "judge_part_microseconds",
    "snapshot_feature_bytes",
    "join_prediction_bytes",
    "alert_p99_seconds",
    "load",
    "features",
    "window_seconds",
    "replication",
    "id_share",
    "label_within_days",
)


@dataclass(frozen=True, slots=True)
class Paper:
    """A deployment at one rate; `given` are the constants."""

    rate: float
    given: Mapping[str, float]

    @property
    def workers(self) -> int:
        """Cores for workers, each loaded as chosen."""
        return math.ceil(self.rate / (self.given["worker_events_per_second"] * self.given["load"]))

    @property
    def partitions(self) -> int:
        """Partitions of events: a power of two, so that twice as many workers still have one each."""
        return max(4, 1 << math.ceil(math.log2(2 * self.workers)))

    @property
    def brokers(self) -> int:
        """Cores for brokers: every copy is written once, one copy is read by the workers."""
        given = self.given
        each = given["broker_write_microseconds"] * given["replication"] + given["broker_read_microseconds"]
        return math.ceil(self.rate * each / 1e6 / given["load"])

    @property
    def window_bytes_per_second(self) -> float:
        """Bytes a second on the windows topic."""
        given = self.given
        return self.partitions * given["features"] * given["feature_window_bytes"] / given["window_seconds"]

    @property
    def judge_cores(self) -> float:
        """Share of a core that judging the model takes."""
        given = self.given
        each = given["judge_feature_microseconds"] + self.partitions * given["judge_part_microseconds"]
        return given["features"] * each / 1e6 / given["window_seconds"]

    @property
    def waiting_bytes(self) -> float:
        """Bytes of memory, of all workers together, for predictions that have or await a label: kept for `label_within`."""
        given = self.given
        return self.rate * given["id_share"] * given["label_within_days"] * DAY_SECONDS * given["join_prediction_bytes"]

    def disk(self, bytes_per_second: float, seconds: float) -> float:
        """Bytes on all brokers' disks."""
        return bytes_per_second * seconds * self.given["replication"]


def count(value: float) -> str:
    """Return a number in words that a person reads at once.

    >>> count(1234567), count(42), count(0.031)
    ('1.2 million', '42', '0.031')
    """
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size(value: float) -> str:
    """Return bytes in words.

    >>> size(2_500_000)
    '2.5 MB'
    """
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value / 1e3:.3g} kB"


#: Row of the document -> how it is computed.
ROWS: dict[str, Callable[[Paper], str]] = {
    "worker cores": lambda paper: count(paper.workers),
    "partitions of events": lambda paper: count(paper.partitions),
    "events in, before compression": lambda paper: f"{size(paper.rate * paper.given['event_bytes'])}/s",
    "disk for events, all copies": lambda paper: size(
        paper.disk(paper.rate * paper.given["stored_event_bytes"], EVENTS.retention_seconds)
    ),
    "broker cores": lambda paper: count(paper.brokers),
    "windows topic": lambda paper: f"{size(paper.window_bytes_per_second)}/s",
    "windows and marks": lambda paper: f"{count(2 * paper.partitions / paper.given['window_seconds'])}/s",
    "disk for windows, all copies": lambda paper: size(paper.disk(paper.window_bytes_per_second, WINDOWS.retention_seconds)),
    "cores for the model's judge": lambda paper: count(paper.judge_cores),
    "models like it that one core judges": lambda paper: count(paper.given["load"] / paper.judge_cores),
    "snapshots to Redis, at most": lambda paper: f"{size(paper.given['features'] * paper.given['snapshot_feature_bytes'])}/s",
    "memory for waiting labels, all workers": lambda paper: size(paper.waiting_bytes),
    "an alert after the change's first window, p99": lambda paper: (
        f"{paper.given['window_seconds'] + paper.given['alert_p99_seconds']:.3g} s"
    ),
}


def constants(text: str) -> dict[str, float]:
    """Return the constants of the document.

    Raises:
        ConfigError: one is missing or is no number above 0.
    """
    cells = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", text, re.MULTILINE))
    found: dict[str, float] = {}
    for name in CONSTANTS:
        try:
            found[name] = float(cells[name].replace(",", ""))
        except (KeyError, ValueError):
            found[name] = 0.0
        if found[name] <= 0.0:
            raise ConfigError(
                f"{PAGE.name}: {name}: expected a number above 0, got {cells.get(name)!r}: measure it, write it there"
            )
    return found


def derived(given: Mapping[str, float]) -> str:
    """Return the table of the document."""
    papers = [Paper(rate, given) for rate in RATES]
    headings = ["events/s of one model", *(count(rate) for rate in RATES)]
    return markdown(headings, [[name, *(compute(paper) for paper in papers)] for name, compute in ROWS.items()])


def renewed(text: str) -> str:
    """Return the document with its derived table made anew."""
    return replaced(text, "derived", derived(constants(text)))


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    fresh = renewed(text)
    if arguments.write:
        PAGE.write_text(fresh, encoding="utf-8")
    given = constants(text)
    print(derived(given))
    return {"benchmark": "scaling", "current": fresh == text, "constants": given}, 0


if __name__ == "__main__":
    run(benchmark)
