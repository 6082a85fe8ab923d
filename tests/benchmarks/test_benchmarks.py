"""The benchmarks of speed run, at tiny sizes, and print what they promise; no figure is looked at."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.machine import fit
from benchmarks.speed.feeding import BEGIN, DATA_SETS, end_of, events
from benchmarks.speed.growth import Case, records, summarised
from benchmarks.speed.latency import CatchUp, quantile
from benchmarks.speed.scaling import CONSTANTS, PAGE, RATES, Paper, constants, renewed
from benchmarks.speed.soak import Samples
from detectors.errors import ConfigError, UnavailableError
from detectors.spec import ModelSpec
from tests.support.paths import ROOT

#: The servers say what this machine lacks; the benchmarks start their own.
needs_servers = pytest.mark.usefixtures("kafka_server", "redis_server")
_TIMEOUT_SECONDS = 240


def benchmark(name: str, *arguments: str, statuses: tuple[int, ...] = (0,)) -> tuple[dict[str, Any], str]:
    """Run a benchmark into a pipe, and return the object of its last line and all lines before it."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode in statuses, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    before, _, last = done.stdout.rstrip("\n").rpartition("\n")
    result: dict[str, Any] = json.loads(last)
    return result, before


_NAMES = sorted(
    path.parent.name if path.name == "__main__.py" else path.stem
    for path in [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "benchmarks").glob("*/__main__.py")]
    if "argparse.ArgumentParser(" in path.read_text()
)


@pytest.mark.parametrize("name", _NAMES)
def test_every_benchmark_says_how_it_is_run(name: str):
    """--help prints the usage, whatever stands in the help of its options."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m benchmarks.{name} ")


@needs_servers
def test_throughput_compares_driftline_with_plain_faust_and_a_bare_loop():
    """Both ratios and the rates of every variant are there, and the phases that the time goes to."""
    result, text = benchmark("throughput", "--events", "3000", "--repeats", "1", "--data", "mixed")
    rates = result["events_per_second"]["mixed"]
    assert set(rates) == {"plain_faust", "bare_loop", "driftline", "judging", "floor"}
    assert result["events_per_second"]["least"] == rates
    assert result["ratio_to_plain_faust"] == pytest.approx(rates["driftline"] / rates["plain_faust"], rel=0.01)
    assert result["ratio_to_bare_loop"] == pytest.approx(rates["driftline"] / rates["bare_loop"], rel=0.01)
    assert {"consume", "decode", "produce"} <= set(result["data"]["mixed"]["phases_microseconds_per_event"])
    assert "agents in the worker: join, judge, outliers, summarise, summarise-outcomes" in text


@needs_servers
def test_scale_compares_one_worker_with_two():
    """There is a ratio by the clock, one by CPU, and what the broker took from the cores."""
    result, _ = benchmark("scale", "--events", "3000", "--repeats", "1")
    one, two = result["one_worker"], result["two_workers"]
    assert result["ratio_by_clock"] == pytest.approx(one["seconds"] / two["seconds"], rel=0.05)
    assert result["ratio_by_cpu"] > 0
    assert 0 <= two["broker_share"] <= 1


@needs_servers
def test_latency_reads_a_backlog_and_then_times_alerts():
    """Alerts of live events have latencies in order, and the backlog's memory was looked at."""
    result, _ = benchmark("latency", "--backlog", "4000", "--seconds", "8", "--rate", "200")
    assert result["alerts"] > 0
    assert 0 <= result["p50_seconds"] <= result["p99_seconds"] <= result["max_seconds"]
    assert result["catch_up"]["events"] == 4000
    assert result["catch_up"]["second_half_bytes"] > 0


def test_growth_says_which_rows_are_superlinear():
    """Every axis has its sizes, and a row is named exactly if its slope is beyond the limit."""
    result, text = benchmark("growth", "--scale", "0.001", "--repeats", "1")
    assert {row["axis"] for row in result["rows"]} == {"features", "order", "segments", "window", "event", "text"}
    steep = [row for row in result["rows"] if max(row["time_slope"] or 0, row["memory_slope"] or 0) > result["limit"]]
    assert len(result["superlinear"]) == len(steep)
    assert text.count("superlinear") == len(steep)


@needs_servers
def test_soak_tells_how_each_measure_moved():
    """Memory, files, lag and snapshots have a trend, the processes end in order, and the verdict is the exit status."""
    result, text = benchmark("soak", "--minutes", "0.1", "--rate", "20", statuses=(0, 1))
    of_worker = {f"worker {measure}" for measure in ("memory", "files", "lag", "unread", "snapshot")}
    names = of_worker | {"retrainer memory", "retrainer files"}
    assert set(result["trends"]) == names
    assert result["flat"] == all(trend["flat"] for trend in result["trends"].values())
    assert text.splitlines()[-1] == ("flat" if result["flat"] else "not flat")
    assert result["exit_statuses"] == {"worker": 0, "retrainer": 0}
    assert result["counted"]["dead_letters_total"] == 0


def test_what_grows_is_not_flat():
    """Steady growth beyond what is allowed is told from noise about a level, whatever happened while warming up."""
    samples = Samples()
    for second in range(600):
        wobble = 1e6 * math.sin(second)
        warm = 5e8 if second < 200 else 0.0
        samples.add(second, {"a memory": 2e8 + wobble - warm, "b memory": 2e8 + wobble + 1e5 * second})
    steady, growing = samples.trends(200, rate=100)
    assert steady.flat
    assert not growing.flat
    assert growing.growth == pytest.approx(1e5 * 400, rel=0.05)


def test_too_few_samples_are_no_verdict():
    """Two points are always on a line."""
    samples = Samples()
    for second in range(2):
        samples.add(second, {"a files": 1.0})
    with pytest.raises(UnavailableError, match="2 samples are too few"):
        samples.trends(0, rate=1)


def test_memory_that_grows_on_the_way_through_a_backlog_is_not_flat():
    """The second half of a backlog may not need more than the first."""
    assert CatchUp(1, 1.0, [(0, 200 << 20), (1, 210 << 20), (2, 205 << 20), (3, 212 << 20)]).flat
    assert not CatchUp(1, 1.0, [(0, 200 << 20), (1, 210 << 20), (2, 300 << 20), (3, 400 << 20)]).flat


def test_a_line_and_a_quantile():
    """A line of least squares has the error of its slope; a quantile is one of the values."""
    line = fit([0, 1, 2, 3], [0, 1, 1, 2])
    assert (line.slope, line.level) == (pytest.approx(0.6), pytest.approx(0.1))
    assert line.error > 0
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0


@pytest.mark.parametrize(
    "case", [Case(features=500), Case(segments=10_000, seconds=400.0), Case(bytes=2000), Case(features=5, bytes=2000, text=True)]
)
def test_every_event_of_the_growth_benchmark_is_counted(case: Case):
    """What is measured are rows in windows, not dead letters."""
    values = records(case, 100)
    assert case.bytes == 0 or abs(len(values[0]) - case.bytes) < 100
    end = b'{"type":"features","model":"hot","ts":%d,"features":{"f0":1}}' % 1_700_010_000
    spec = ModelSpec("hot", window_seconds=case.seconds, max_segments=10_000)
    assert summarised(spec, [*values, end], fetch=30) == 100


@given(st.integers(1, 3000), st.sampled_from([1.0, 3.0, 1000.0, 5000.0, 7777.0]))
def test_events_lie_in_the_windows_that_they_were_made_for(count: int, per_second: float):
    """No event is at or after the end of the last window, however many of them share a millisecond."""
    end = end_of(count, begin=BEGIN, per_second=per_second, seconds=0.5)
    times = [orjson.loads(value)["ts"] for value in events(DATA_SETS["numeric"], count, per_second=per_second)]
    assert times == sorted(times)
    assert times[-1] < end
    assert times[0] == BEGIN


def test_a_benchmark_without_its_servers_says_what_to_install(tmp_path: Path):
    """No traceback, one line, the exit status of what is not there."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--events", "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 3
    assert done.stderr.startswith("Error: a real Kafka needs Java")


def test_the_table_on_scaling_is_what_follows_from_its_constants():
    """Nobody has changed a constant and forgotten the rest of the page."""
    text = PAGE.read_text(encoding="utf-8")
    assert renewed(text) == text, "run: python -m benchmarks.scaling --write"
    faster = text.replace("| `worker_events_per_second` | ", "| `worker_events_per_second` | 9")
    assert renewed(faster) != faster


def test_a_constant_that_was_not_measured_is_named():
    """The page cannot be made with a hole in it."""
    text = PAGE.read_text(encoding="utf-8").replace("`judge_part_microseconds` | ", "`judge_part_microseconds` | ?")
    with pytest.raises(ConfigError, match="judge_part_microseconds: expected a number above 0"):
        constants(text)


def test_more_events_need_no_less_of_anything():
    """Workers, partitions, brokers and what they write grow with the rate, and at least a worker's load fits each worker."""
    given = dict.fromkeys(CONSTANTS, 1.0) | {"worker_events_per_second": 1e5, "load": 0.5}
    papers = [Paper(rate, given) for rate in RATES]
    for name in ("workers", "partitions", "brokers", "window_bytes_per_second", "judge_cores", "waiting_bytes"):
        values = [getattr(paper, name) for paper in papers]
        assert values == sorted(values), name
    for paper in papers:
        assert paper.rate <= paper.workers * 1e5 * 0.5
        assert paper.partitions >= 2 * paper.workers
