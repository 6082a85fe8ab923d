"""The figures of `benchmarks.join`: what each must be, what is aimed at, and what it was before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Records of a full load: what must be reached in seconds is for so many predictions that wait.
_LOADED = 10_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the table.

    Args:
        name: in words.
        path: keys to it in the result.
        least: what it must be at least; `most` at most.
        aim: what is aimed at.
        before: what it was with the join in Redis, at 86be610.
    """

    name: str
    path: tuple[str, ...]
    least: float | None = None
    most: float | None = None
    aim: str = "-"
    before: str = "-"

    def value(self, result: Mapping[str, Any]) -> float | None:
        """Return the figure, None if it was not measured."""
        found: Any = result
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def short(self, result: Mapping[str, Any]) -> bool:
        """Return whether the figure was measured and is not what it must be."""
        value = self.value(result)
        if value is None:
            return False
        return (self.least is not None and value < self.least) or (self.most is not None and value > self.most)

    @property
    def must(self) -> str:
        """Return what it must be, in words."""
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else "-"

    def row(self, result: Mapping[str, Any]) -> list[str]:
        """Return the row of the table."""
        value = self.value(result)
        shown = "-" if value is None else f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"
        return [self.name, shown, self.must, self.aim, self.before]


FIGURES = (
    Figure("rate with ids and labels, of the rate without ids", ("ratio",), least=0.60, aim="0.75", before="0.17 to 0.24"),
    Figure("the same with training rows", ("ratio_with_rows",), aim="0.75"),
    Figure("rate of predictions with ids, of the rate without", ("ratio_with_ids",), before="0.39"),
    Figure("bytes of memory a waiting prediction, classes", ("memory_bytes", "classes"), most=100, aim="75"),
    Figure("bytes of memory a waiting prediction, numbers", ("memory_bytes", "numbers"), most=120, aim="75"),
    Figure("bytes of a whole worker's memory a waiting prediction", ("worker_memory_bytes",)),
    Figure("bytes on disk, join and rows, two decimals", ("disk_bytes", "two decimals"), most=200, aim="90"),
    Figure("bytes on disk, join and rows, full doubles", ("disk_bytes", "full doubles"), most=300, aim="200"),
    Figure("of these, the log of the join", ("disk_bytes", "join"), most=60, aim="40"),
    Figure("of these, training rows of two decimals", ("disk_bytes", "rows")),
    Figure("bytes on disk an outcome", ("disk_bytes", "outcome"), before="506"),
    Figure("keys in Redis that the join adds", ("redis_keys",), most=0, aim="0", before="one a prediction"),
    Figure("bytes in Redis a prediction with its label", ("redis_bytes",), aim="0", before="505"),
    Figure("CPU seconds of loading 10 M that wait, by what was loaded", ("load_cpu_seconds_of_10_m",), most=60, aim="25"),
    Figure("longest take of a fetch while the index grows, CPU ms", ("longest_take_ms", "index grows"), most=100, aim="50"),
    Figure("longest take while another log is loaded, CPU ms", ("longest_take_ms", "while another loads"), most=100, aim="50"),
    Figure("times the CPU of a plain Faust table in memory", ("times_plain_faust", "memory://"), least=25, aim="40"),
    Figure("times the CPU of a plain Faust table on RocksDB", ("times_plain_faust", "rocksdb://"), least=25, aim="40"),
    Figure("idle worker with predictions that wait, of one without", ("idle_ratio",)),
)


def reported(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures from what the parts found; parts that did not run are left out."""
    result: dict[str, Any] = {}
    if "workers" in found:
        of_workers = found["workers"]
        result |= of_workers
        without, waiting = (max(0.001, share) for share in of_workers["idle_share"].values())
        result["idle_ratio"] = waiting / without
    if "memory" in found:
        result["memory_bytes"], result["memory_by_size"] = found["memory"]["bytes"], found["memory"]["by_size"]
    if "loading" in found:
        result |= found["loading"]
        # A prediction has 0.98 labels.
        result["load_cpu_seconds_of_10_m"] = found["loading"]["load_microseconds"] * 1.98 * _LOADED / 1e6
    if "rival" in found:
        result["plain_faust_microseconds"] = found["rival"]["cpu_microseconds"]
        if "workers" in found:
            own = found["workers"]["cpu_microseconds"]["ids and labels"]
            result["times_plain_faust"] = {store: each / own for store, each in found["rival"]["cpu_microseconds"].items()}
    if "parts" in found:
        result["steps"] = found["parts"]
    return {name: _rounded(value) for name, value in result.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def short_of(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure that is not what it must be."""
    return [
        f"short: {figure.name} is {figure.row(result)[1]}, must be {figure.must}" for figure in FIGURES if figure.short(result)
    ]
