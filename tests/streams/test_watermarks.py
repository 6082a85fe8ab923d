"""Event time: every rule of docs/events.md, "Watermarks", by itself, through the judge, and on real Kafka."""

from __future__ import annotations

import asyncio
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from detectors.model.aligner import WindowAligner
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.record import Mark, Window, WindowShape
from detectors.windows.row import Row
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.engine.stage import Stage
from streams.engine.transport import LogState
from streams.kafka import Outgoing, create_topics, delete_topics
from streams.metrics import Metrics
from streams.records import window_codec, window_records
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.stages.judge import JudgeStage, load_state
from streams.state.store import Store
from streams.topics import DEAD, EVENTS, WINDOWS
from streams.worker.agents import stage_makers
from tests.support.deployment import BEGIN, MODEL, ShopDeployment, end_of, event, until
from tests.support.fed_windows import FedWindows
from tests.support.records import NOW, Fetched, batch_of, log_of, make_durable
from tests.support.wired import wired

SHAPE = WindowShape(10.0, 3.0)


def add(windows: FedWindows, rows: Iterable[Row]) -> list[Window | Mark]:
    """Give rows to windows."""
    return windows.add(rows)


def windows_of(shape: WindowShape = SHAPE) -> FedWindows:
    """Return the windows of one source of the model m."""
    return FedWindows({"m": shape})


def rows_at(*times: float, first: int = 0) -> list[Row]:
    """Return rows of those event times, in that order."""
    return [Row(first + number, "m", ts, "", {"x": 1.0}) for number, ts in enumerate(times)]


def tick_at(offset: int, ts: float) -> Row:
    """Return a tick."""
    return Row(offset, "m", ts, "", None)


def counts(written: Iterable[Window | Mark]) -> dict[float, int]:
    """Return start of bucket -> rows in it; a bucket that comes twice fails."""
    found: dict[float, int] = {}
    for item in written:
        if isinstance(item, Window):
            assert found.setdefault(item.start, item.n) == item.n
            assert found[item.start] > 0
    return found


# -- one partition -------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60), st.data())
def test_out_of_order_within_the_lateness_loses_nothing(delays: list[float], data: st.DataObject) -> None:
    """However rows within the allowed lateness overtake each other, each is in the bucket of its time and none is late."""
    newest, times = 1000.0, []
    for delay in delays:
        newest += data.draw(st.floats(0.0, 25.0))
        times += [newest, newest - delay]  # delayed by no more than the lateness behind the newest
    windows = windows_of()
    written = add(windows, [*rows_at(*times), tick_at(len(times), newest + 100.0)])
    assert counts(written) == Counter(ts // 10.0 * 10.0 for ts in times)
    assert windows.late == {}


def test_beyond_the_lateness_only_a_closed_bucket_is_lost() -> None:
    """An event later than allowed is still counted in while its bucket is open, and is late once it is closed."""
    windows = windows_of()
    written = add(windows, rows_at(100.0, 112.9, 100.5, 113.0, 100.5, 109.0, 110.0))
    assert counts(written) == {100.0: 2}
    assert windows.late == {"m": 2}
    assert counts(add(windows, [tick_at(7, 130.0)])) == {110.0: 3}


@pytest.mark.parametrize(
    ("times", "closed", "late"),
    [
        ((100.0, 109.999, 112.999), {}, 0),  # a watermark just short of the end closes nothing
        ((100.0, 109.999, 113.0), {100.0: 2}, 0),  # one that equals the end does
        ((105.0, 113.0, 110.0), {100.0: 1}, 0),  # equal to the watermark, which is the begin of the next bucket: in time
        ((105.0, 113.0, 109.999), {100.0: 1}, 1),
        ((105.0, 116.0, 113.0), {100.0: 1}, 0),  # equal to a watermark inside a bucket
        ((110.0, 120.0), {}, 0),  # equal to the end of its own bucket: the next one's first
    ],
)
def test_boundaries_are_exact(times: Sequence[float], closed: dict[float, int], late: int) -> None:
    """A begin belongs to its bucket, an end to the next; a bucket closes when the watermark equals its end."""
    windows = windows_of()
    assert counts(add(windows, rows_at(*times))) == closed
    assert windows.late["m"] == late


def test_a_clock_that_is_behind_moves_nothing() -> None:
    """Events a day, or decades, old are late and counted; what is open stays open and what comes is in time."""
    windows = windows_of()
    add(windows, rows_at(1e6, 1e6 + 1.0))
    assert add(windows, rows_at(1e6 - 86_400.0, 0.0, 1e6 - 11.0, first=2)) == []
    assert windows.late == {"m": 3}
    assert counts(add(windows, [*rows_at(1e6 + 2.0, first=5), tick_at(6, 2e6)])) == {1e6: 3}


def test_without_lateness_equal_times_are_in_time() -> None:
    """With no lateness allowed, events of one time are one bucket, in whatever order of the same second."""
    windows = windows_of(WindowShape(10.0, 0.0))
    assert counts(add(windows, [*rows_at(100.0, 100.0, 109.0, 100.0, 109.0), tick_at(5, 110.0)])) == {100.0: 5}
    assert windows.late == {}


def test_a_lateness_longer_than_any_log_closes_by_ticks_alone() -> None:
    """A year of lateness keeps every bucket open, and the place to start from at the first row; a tick still closes."""
    windows = windows_of(WindowShape(10.0, 365 * 86_400.0))
    assert counts(add(windows, rows_at(*(1e9 + 10.0 * number for number in range(50))))) == {}
    assert windows.open.durable(50) == 0
    assert sum(counts(add(windows, [tick_at(50, 1e9 + 500.0)])).values()) == 50


@given(st.integers(0, 10**6), st.sampled_from([0.25, 0.1, 1 / 3, 0.7, 1.0, 60.0, 3600.0, 86_400.0]), st.floats(0.0, 1e5))
def test_a_tick_closes_what_it_says(number: int, seconds: float, lateness: float) -> None:
    """A tick at the end of a bucket closes that bucket, whatever the width and however much lateness is allowed."""
    windows = windows_of(WindowShape(seconds, lateness))
    base = round(1.7e9 / seconds) + number
    add(windows, rows_at((base + 0.5) * seconds))
    written = add(windows, [tick_at(1, (base + 1) * seconds)])
    assert sum(counts(written).values()) == 1
    assert isinstance(written[-1], Mark)
    assert written[-1].until == (base + 1) * seconds


times = st.one_of(
    st.floats(0.0, 2.5e11),
    st.floats(1.7e9, 1.7e9 + 200.0),
    st.integers(0, 40).map(lambda number: 1.7e9 + 5.0 * number),  # boundaries
)


@given(st.lists(st.tuples(times, st.booleans()), max_size=60), st.lists(st.integers(1, 9), max_size=20), st.floats(0.0, 1e6))
def test_in_any_order_every_row_is_in_one_window_or_late(
    arrivals: list[tuple[float, bool]], cuts: list[int], lateness: float
) -> None:
    """Rows in = rows in windows + late ones, for any order of arrival, ticks among them, however the log is cut."""
    shape = WindowShape(10.0, lateness)
    rows = [tick_at(offset, ts) if tick else rows_at(ts, first=offset)[0] for offset, (ts, tick) in enumerate(arrivals)]
    rows.append(tick_at(len(rows), 3e11))
    edges = [0, *(sum(cuts[: number + 1]) for number in range(len(cuts))), len(rows)]
    windows, written = windows_of(shape), []
    for low, high in pairwise(edges):
        if rows[low:high]:
            written += add(windows, rows[low:high])
    sent = sum(1 for row in rows if row.values is not None)
    assert sum(counts(written).values()) + windows.late["m"] == sent
    whole = windows_of(shape)
    assert counts(add(whole, rows)) == counts(written)
    assert whole.late == windows.late


# -- partitions together, through the judge ------------------------------------------------------------

MODELS = (ModelSpec("m", window_seconds=60.0, lateness_seconds=10.0, reference=ReferenceSpec(seconds=86_400.0)),)
KAFKA = KafkaSettings(prefix="t")


@dataclass
class Flow:
    """Summarise and judge over logs in memory, with a clock that moves when the test says so.

    The same seconds are the broker's clock, the workers' and the judge's.
    """

    store: Store
    settings: Settings
    sources: int = 2
    now: float = NOW
    metrics: Metrics = field(default_factory=Metrics)
    ticks: int = 0

    def __post_init__(self) -> None:
        """Begin with empty logs."""
        self.events: list[list[Fetched]] = [[] for _ in range(self.sources)]
        self.windows: list[Fetched] = []
        self.dead: list[Outgoing] = []
        self.committed = [0] * self.sources

    async def begin(self) -> Flow:
        """Start a worker, as after a crash of the one before."""
        makers = stage_makers(self.settings, store=self.store, metrics=self.metrics, sinks=[], sources=self.sources)
        self.stages: list[Stage] = []
        for source, log in enumerate(self.events):
            make = makers[f"{KAFKA.prefix}.events"]["summarise"]
            self.stages.append(await make(TP("t.events", source), LogState(self.committed[source], 0, len(log))))
        self.read = [stage.start for stage in self.stages]
        log_state = LogState(None, 0, len(self.windows))
        stored, monitors = await load_state(self.store, "judge/0", log_state)
        self.judge = JudgeStage(
            wired({spec.name: spec for spec in self.settings.models}, store=self.store, metrics=self.metrics),
            partition=0,
            log=log_state,
            stored=stored,
            monitors=monitors,
            clock=lambda: self.now,
        )
        self.judged = self.judge.start
        return self

    def send(self, source: int, *times: float | str, model: str = "m") -> None:
        """Write events of those times, which the broker stamps with its clock."""
        for ts in times:
            self._append(source, {"model": model, "ts": ts, "features": {"x": 1.0}})

    def _append(self, source: int, value: Any) -> None:
        log = self.events[source]
        (record,) = log_of([value], partition=source, first=len(log))
        log.append(Fetched(record.value, record.offset, int(self.now * 1000), partition=source))

    async def run(self, *sources: int) -> None:
        """Read what there is, of some sources or of all, and judge it."""
        for source in sources or range(self.sources):
            stage, log = self.stages[source], self.events[source]
            if self.read[source] < len(log):
                await stage.feed(batch_of(log[self.read[source] :]), self.read[source])
                self.read[source] = len(log)
            checkpoint = stage.checkpoint(self.read[source], final=False)
            for message in await make_durable(checkpoint):
                if message.topic == "t.windows":
                    record = Fetched(message.value, len(self.windows), int(self.now * 1000), "t.windows")
                    self.windows.append(record)
                else:
                    self.dead.append(message)
            if checkpoint is not None and checkpoint.durable is not None:
                self.committed[source] = checkpoint.durable
        if self.judged < len(self.windows):
            await self.judge.feed(batch_of(self.windows[self.judged :]), self.judged)
            self.judged = len(self.windows)
        for message in await make_durable(self.judge.checkpoint(self.judged, final=False)):
            assert message.topic == "t.events"
            assert message.partition is not None
            self._append(message.partition, message.value)
            self.ticks += 1

    async def wait(self, seconds: float, *sources: int, step: float = 1.0) -> None:
        """Let time pass, reading on all the while."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            await self.run(*sources)

    def rows(self) -> dict[float, int]:
        """Return start of bucket -> rows that a judge got of it, in the order in which it got them."""
        return rows_judged(record.value for record in self.windows)

    def late(self) -> float:
        """Return how many events were counted as late."""
        return self.metrics.registry.get_sample_value("driftline_late_events_total", {"model": "m"}) or 0.0


def rows_judged(values: Iterable[bytes | None]) -> dict[float, int]:
    """Return start of bucket -> rows of it, as a reader of a windows topic of one model gets them."""
    aligner, found = WindowAligner(), {}
    for value in values:
        parsed = window_codec.parse(value)
        if isinstance(parsed, Window):
            aligner.add(parsed)
        elif isinstance(parsed, Mark):
            for start, segments in aligner.advance(parsed):
                found[start] = sum(part.n for parts in segments.values() for part in parts)
    return found


@pytest.fixture
async def flow(redis_settings: RedisSettings, signing_key: Secret) -> Flow:
    """A worker on two partitions."""
    settings = Settings(kafka=KAFKA, redis=redis_settings, signing_key=signing_key, models=MODELS)
    return await Flow(Store(redis_settings, signing_key), settings).begin()


def buckets(*times: float) -> dict[float, int]:
    """Return start of bucket -> how many of those times are in it."""
    return dict(sorted(Counter(ts // 60.0 * 60.0 for ts in times).items()))


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_idle_partition_holds_up_the_others_for_ten_seconds(flow: Flow, restarted: bool) -> None:
    """A tick takes a silent partition to where the others are; when it comes back, what is older than that is late."""
    before = [NOW - 290.0 + 10.0 * number for number in range(30)]
    flow.send(0, *before)
    await flow.run()
    await flow.wait(9.0)
    assert (flow.rows(), flow.ticks) == ({}, 0)
    behind = {"model": "m", "kind": "features"}
    gauge = flow.metrics.registry.get_sample_value
    assert gauge("driftline_watermark_skew_seconds", behind) == 240.0  # NOW - 60 is closed here, and all wait since NOW - 300
    assert gauge("driftline_window_close_delay_seconds", behind) == 70.0
    await flow.wait(3.0)
    closed = [ts for ts in before if ts < NOW - 60.0]
    assert flow.rows() == buckets(*closed)
    assert flow.ticks == 1
    assert gauge("driftline_watermark_skew_seconds", behind) == 0.0
    if restarted:
        await flow.begin()
    after = [NOW - 60.0, NOW + 1.0]  # the tick stands at NOW - 60
    flow.send(1, NOW - 60.001, NOW - 200.0, *after)
    flow.send(0, NOW + 12.0, NOW + 200.0 - 150.0)
    await flow.wait(75.0)
    flow.send(0, NOW + 80.0)
    flow.send(1, NOW + 80.0)
    await flow.run()
    expected = buckets(*(ts for ts in [*before, *after, NOW + 12.0, NOW + 50.0] if ts < NOW + 60.0))
    assert flow.rows() == expected
    assert flow.late() == 2
    assert await replayed(flow) == expected


async def replayed(flow: Flow) -> dict[float, int]:
    """Return what a worker makes of the same log from its beginning, with a Redis that knows nothing."""
    prefix = f"{flow.settings.redis.prefix}-again"
    redis = RedisSettings(flow.settings.redis.url, prefix)
    again = Flow(Store(redis, flow.settings.signing_key), flow.settings, flow.sources, flow.now)
    again.events = [list(log) for log in flow.events]
    await again.begin()
    for source in range(flow.sources):
        await again.run(source)
    assert again.late() == flow.late()
    assert again.ticks == 0
    return again.rows()


async def test_a_tick_does_not_touch_what_was_there_before_it(flow: Flow) -> None:
    """A partition that is written but not read is ticked like an idle one, and loses nothing by it."""
    times = [NOW - 290.0 + 10.0 * number for number in range(30)]
    flow.send(0, *times)
    flow.send(1, *times)
    await flow.run(0)
    await flow.wait(25.0, 0)
    assert flow.ticks == 2  # said again after ten seconds more: nothing has moved
    await flow.run()
    assert flow.rows() == {start: 2 * count for start, count in buckets(*(ts for ts in times if ts < NOW - 60.0)).items()}
    assert flow.late() == 0


async def test_one_clock_ahead_closes_nobodys_windows(flow: Flow) -> None:
    """Events a day ahead of the broker's clock are dead letters, a minute ahead is taken, and nobody else's are late."""
    flow.send(0, NOW - 5.0, NOW + 86_400.0, NOW + 60.001, NOW - 6.0, NOW + 1e9)
    flow.send(1, NOW + 86_400.0, NOW - 5.0)
    await flow.run()
    assert [dict(letter.headers)["driftline-reason"] for letter in flow.dead] == [b"future"] * 4
    flow.send(0, NOW - 7.0, NOW + 60.0, NOW - 8.0)
    flow.send(1, NOW - 8.0, NOW + 60.0)
    await flow.run()
    assert flow.rows() == buckets(*[NOW - 5.0] * 5)  # NOW is a whole minute, so all of these were in one bucket
    assert flow.late() == 1, "half a minute or a minute ahead closes so much earlier, and that is all it can do"


async def test_a_silent_model_has_its_last_window_judged_once(flow: Flow) -> None:
    """When nothing comes any more the last window is closed by ticks; none follow, and what then comes is in time."""
    times = [NOW - 130.0 + 5.0 * number for number in range(25)]
    for ts in times:
        flow.now = ts
        flow.send(0, ts)
        flow.send(1, ts)
        await flow.run()
    await flow.wait(145.0)
    last = flow.rows()
    assert (flow.ticks, len(last)) == (0, 2)
    await flow.wait(60.0)
    assert flow.rows() == {start: 2 * count for start, count in buckets(*times).items()}
    assert flow.ticks == 2
    await flow.wait(7200.0, step=5.0)
    assert flow.ticks == 2
    for number in range(40):
        flow.send(number % 2, flow.now - 5.0, flow.now)
        await flow.wait(5.0)
    assert flow.late() == 0
    await flow.wait(300.0)
    assert sum(flow.rows().values()) == 2 * len(times) + 80
    assert await replayed(flow) == flow.rows()


async def test_a_short_life_after_a_silence_is_seen_as_well(flow: Flow) -> None:
    """A single event right after the ticks moves its watermark, so the model can fall silent again."""
    flow.send(0, flow.now)
    flow.send(1, flow.now)
    await flow.wait(400.0)
    assert flow.ticks == 2
    flow.send(0, flow.now)
    await flow.wait(400.0)
    assert sum(flow.rows().values()) == 3


async def test_a_replay_that_pauses_is_not_taken_for_silence(flow: Flow) -> None:
    """Events of last month may come in portions an hour apart: no tick, nothing late."""
    month = NOW - 30 * 86_400.0
    for portion in range(3):
        times = [month + 600.0 * portion + 10.0 * number for number in range(60)]
        flow.send(0, *times)
        flow.send(1, *times)
        await flow.wait(3600.0, step=10.0)
    assert (flow.ticks, flow.late()) == (0, 0)
    assert sum(flow.rows().values()) == 2 * (180 - 6)


async def test_outcomes_are_not_closed_by_silence(flow: Flow) -> None:
    """Labels come when they come: that none did for two hours cuts nothing short."""
    for source in range(2):
        mark = window_records.outgoing(KAFKA, Mark("m", "outcomes", source, 2, NOW - 60.0))
        flow.windows.append(Fetched(mark.value, len(flow.windows), int(NOW * 1000), "t.windows"))
    await flow.wait(7200.0, step=5.0)
    assert flow.ticks == 0


async def test_a_model_that_is_not_configured_any_more_is_not_ticked(flow: Flow) -> None:
    """Ticks for a model that nobody reads would be dead letters every ten seconds."""
    flow.send(0, NOW - 300.0, NOW)
    await flow.run()
    await flow.wait(5.0)
    flow.settings = replace(flow.settings, models=(ModelSpec("other"),))
    await flow.begin()
    await flow.wait(60.0)
    assert flow.ticks == 0


def test_a_live_model_loses_nothing_to_ticks_however_it_pauses(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Events no more than the lateness old are never late, whichever partitions fall silent and for how long."""
    settings = Settings(kafka=KAFKA, redis=redis_settings, signing_key=signing_key, models=MODELS)

    async def live(seed: int) -> None:
        draw = random.Random(seed)
        redis = RedisSettings(redis_settings.url, f"{redis_settings.prefix}:{seed}")
        flow = await Flow(Store(redis, signing_key), settings, sources=3).begin()
        sent = []
        for _ in range(40):
            for _ in range(draw.choice([0, 1, 1, 5])):
                sent.append(flow.now - draw.choice([0.0, draw.uniform(0.0, 10.0), 10.0]))
                flow.send(draw.choice([0, 0, 0, 1, 1, 2]), sent[-1])
            await flow.wait(draw.choice([0.5, 3.0, 11.0, 60.0, 190.0, 400.0]), step=2.5)
            if draw.random() < 0.1:
                await flow.begin()
        for source in range(3):
            flow.send(source, flow.now)
        await flow.wait(400.0, step=2.5)
        assert flow.late() == 0
        assert flow.rows() == buckets(*sent, *[flow.now - 400.0] * 3)
        assert await replayed(flow) == flow.rows()

    for seed in range(6):
        asyncio.run(live(seed))


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        # Berlin leaves summer time: the clock shows 02:30 twice.
        (["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"], ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]),
        # and enters it: 03:30 comes half an hour after 01:59:59.
        (["2027-03-28T01:30:00+01:00", "2027-03-28T03:30:00+02:00"], ["2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z"]),
        # An offset that is no whole hour; and a local time without one, which is taken for UTC.
        (["2026-10-25T06:15:00+05:45", "2026-10-25T02:10:00"], ["2026-10-25T00:30:00Z", "2026-10-25T02:10:00Z"]),
    ],
)
async def test_windows_know_no_summer_time(flow: Flow, local: list[str], utc: list[str]) -> None:
    """Times with different offsets are put where they are in UTC: an hour that comes twice on the wall is two windows."""
    flow.settings = replace(flow.settings, models=(ModelSpec("m", window_seconds=3600.0),))
    flow.now = 1_900_000_000.0
    found = []
    for times in (local, utc):
        await flow.begin()
        flow.send(0, *times, "2027-06-01T00:00:00Z")
        flow.send(1, "2027-06-01T00:00:00Z")
        await flow.run()
        found.append(flow.rows())
        flow.events, flow.windows, flow.committed = [[], []], [], [0, 0]
        redis = flow.settings.redis
        flow.store = Store(replace(redis, prefix=f"{redis.prefix}:utc"), flow.settings.signing_key)
    assert found[0] == found[1]
    assert list(found[0].values()) == [1, 1]
    first, second = found[0]
    assert (first % 3600.0, second % 3600.0) == (0.0, 0.0)
    assert second > first


# -- on real Kafka -------------------------------------------------------------------------------------


def written(deployment: ShopDeployment, model: str) -> list[bytes | None]:
    """Return what the windows topic holds of a model."""
    return [record.value for record in deployment.read(WINDOWS) if record.key == model.encode()]


def metric(address: str, name: str, model: str) -> float:
    """Return a metric of a worker, summed over what else it is told apart by."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{") and f'model="{model}"' in line)


def test_idle_partitions_bad_clocks_and_silence_on_real_kafka(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> None:
    """An idle partition, clocks a day ahead and behind, a live model that falls silent, a restart: all rows accounted for."""
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    create_topics(kafka)
    deployment = ShopDeployment(tmp_path, kafka, RedisSettings(redis_server.url, prefix), signing_key)
    deployment.config.write_text(deployment.config.read_text() + '\n[models.live]\nwindow = "2s"\n')
    now = time.time()

    def at(ts: float, partition: int, model: str = MODEL) -> Outgoing:
        return event(prefix, {"model": model, "ts": ts, "features": {"x": 1.0}}, key="any", partition=partition)

    def judged(times: Sequence[float]) -> None:
        expected = buckets(*times)
        until(
            lambda: rows_judged(written(deployment, MODEL)) == expected or None,
            what=f"{expected}; {rows_judged(written(deployment, MODEL))}",
        )

    try:
        first = [BEGIN + 5.0 * number for number in range(61)]  # the last opens a window that nothing closes
        ahead, behind = [now + 86_400.0] * 3, [BEGIN - 86_400.0] * 5
        sent = [at(ts, number % 3) for number, ts in enumerate(first)]
        sent[30:30] = [*(at(ts, number % 4) for number, ts in enumerate(ahead)), *(at(ts, 0) for ts in behind)]
        deployment.send([*sent, *(at(now, source, "live") for source in range(4))])
        worker, address = deployment.ready("worker")
        judged(first[:48])  # the newest but one in each partition left the fifth window open
        assert metric(address, "driftline_late_events_total", MODEL) == len(behind)
        until(lambda: rows_judged(written(deployment, "live")) or None, what="the last window of the live model")
        assert sum(rows_judged(written(deployment, "live")).values()) == 4
        assert metric(address, "driftline_watermark_age_seconds", MODEL) > 10**7
        worker.stop()
        second = [BEGIN + 400.0 + number for number in range(12)]
        old = [BEGIN, first[47]]  # of a time that the tick has closed in the idle partition
        deployment.send([*(at(ts, 3) for ts in old), *(at(ts, number % 4) for number, ts in enumerate(second))])
        worker, address = deployment.ready("worker")
        judged([*first, *(ts for ts in second if ts < end_of(6))])
        assert metric(address, "driftline_late_events_total", MODEL) == len(old)
        ticks = [record for record in deployment.read(EVENTS) if b'"tick"' in (record.value or b"") and b'"live"' in record.value]
        assert sorted(record.partition for record in ticks) == [0, 1, 2, 3]
        assert {dict(record.headers)["driftline-reason"] for record in deployment.read(DEAD)} == {b"future"}
        assert len(deployment.read(DEAD)) == len(ahead)
    finally:
        deployment.stop()
        delete_topics(kafka)
