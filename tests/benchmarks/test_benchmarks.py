"""The arithmetic of the benchmarks of speed holds."""

from __future__ import annotations

import math

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

pytestmark = pytest.mark.fast


def test_what_grows_is_not_flat():
    """Steady growth beyond what is allowed differs from noise about a level, whatever happened while warming up."""
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


@pytest.mark.slow
@given(st.integers(1, 3000), st.sampled_from([1.0, 3.0, 1000.0, 5000.0, 7777.0]))
def test_events_lie_in_the_windows_that_they_were_made_for(count: int, per_second: float):
    """No event is at or after the end of the last window, however many of them share a millisecond."""
    end = end_of(count, begin=BEGIN, per_second=per_second, seconds=0.5)
    times = [orjson.loads(value)["ts"] for value in events(DATA_SETS["numeric"], count, per_second=per_second)]
    assert times == sorted(times)
    assert times[-1] < end
    assert times[0] == BEGIN


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
