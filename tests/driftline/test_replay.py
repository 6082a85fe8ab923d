"""Replay: the alerts of a file are those of the same rows in Kafka, byte for byte, whatever the format and the reading."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.spec import ModelSpec
from driftline.cli.main import run
from driftline.config.load import parse_settings
from driftline.readers.csv_rows import read_csv
from driftline.readers.json_lines import read_events, read_json_rows
from driftline.readers.opened import Opened, opened
from driftline.readers.parquet import read_parquet
from driftline.readers.roles import Roles
from driftline.readers.stretch import Stretch
from driftline.readers.windows_file import read_windows
from driftline.replay.replaying import Replaying
from streams.engine.transport import LogState
from streams.events.event import tick
from streams.kafka import Outgoing, Sender
from streams.records.cloudevents import event_of
from streams.records.outcomes import OutcomeTick
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.join import Join
from streams.stages.judge import JudgeStage
from streams.stages.summarise import SummariseEvents
from streams.stages.summarise_outcomes import SummariseOutcomes
from streams.stages.wiring import Wiring
from streams.state.store import Store
from streams.topics import WINDOWS, topic_name
from tests.support.command_line import Done, beside
from tests.support.records import Fetched, batch_of, make_durable
from tests.support.replayed import CONFIG, FEATURES, MAPPED, events, rows, write_csv, write_lines, write_parquet
from tests.support.wired import wired

SETTINGS = parse_settings(CONFIG, "driftline.toml", {}, home=Path())
SPEC: ModelSpec = SETTINGS.models[0]
MODELS = {"fraud": SPEC}
TABLE = rows()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """A function that runs `driftline replay` beside a configuration without any server."""

    def run_it(*arguments: str | Path) -> Done:
        status = run(["replay", *map(str, arguments)])
        return Done(status, *capsys.readouterr())

    with beside(tmp_path, CONFIG, monkeypatch):
        yield run_it


# -- the same as in Kafka --------------------------------------------------------------------------


class WorkerStages:
    """The workers' stages over one partition of events, one record at a time."""

    def __init__(self, wiring: Wiring, join: Join) -> None:
        self.wiring, self.join = wiring, join
        self.summarise = SummariseEvents(self.wiring, source=0, start=0)
        self.outcomes = SummariseOutcomes(self.wiring, source=0, start=0)
        self.windows: list[bytes] = []
        self.offset = self.outcome = 0

    @classmethod
    async def begin(cls, store: Store, kafka: KafkaSettings) -> Self:
        """Return the stages at the beginning of a partition, with an empty log of the join."""
        wiring = replace(wired(MODELS, kafka=kafka, store=store), join_records=lambda _: ())
        return cls(wiring, await Join.open(wiring, 0, LogState(None, 0, 0)))

    def _take(self, messages: list[Outgoing]) -> None:
        self.windows += [message.value or b"" for message in messages]

    async def event(self, value: bytes) -> None:
        """Take the next record of the events topic, and the outcome that it makes."""
        position, self.offset = self.offset, self.offset + 1
        batch = batch_of([Fetched(value, position)])
        await self.summarise.feed(batch, position)
        self._take(await make_durable(self.summarise.checkpoint(self.offset, final=False)))
        await self.join.feed(batch, position)
        for message in await make_durable(self.join.checkpoint(self.offset, final=False)):
            if message.topic == "t.outcomes":
                await self.outcome_record(message.value)

    async def outcome_record(self, value: bytes | None) -> None:
        """Take the next record of the outcomes topic."""
        position, self.outcome = self.outcome, self.outcome + 1
        await self.outcomes.feed(batch_of([Fetched(value, position, topic="t.outcomes")]), position)
        self._take(await make_durable(self.outcomes.checkpoint(self.outcome, final=False)))

    async def judged(self) -> list[str]:
        """Return what the judge writes of all windows, as text."""
        log = LogState(None, 0, len(self.windows))
        judging = JudgeStage(self.wiring, partition=0, log=log, stored=None, monitors={})
        await judging.feed(batch_of([Fetched(value, at, topic="t.windows") for at, value in enumerate(self.windows)]), 0)
        messages = await make_durable(judging.checkpoint(len(self.windows), final=True))
        return [(message.value or b"").decode() for message in messages if message.topic in ("t.alerts", "t.retrains")]


Tell = Callable[[list[dict[str, Any]]], Awaitable[list[str]]]


@pytest.fixture
def told(redis_settings: RedisSettings, signing_key: Secret) -> Tell:
    """A function that gives what the workers write for the events of one partition."""

    async def tell(log: list[dict[str, Any]]) -> list[str]:
        partition = await WorkerStages.begin(Store(redis_settings, signing_key), KafkaSettings(prefix="t"))
        for event in log:
            await partition.event(json.dumps(event).encode())
        end = max(event["ts"] for event in log) + SPEC.window_seconds
        await partition.event(tick("fraud", end))
        await partition.outcome_record(msgspec.json.encode(OutcomeTick("fraud", end)))
        return await partition.judged()

    return tell


def statuses(lines: list[str]) -> set[str | None]:
    """Return what became of the incidents; None for a request to retrain."""
    return {json.loads(line)["data"].get("status") for line in lines}


async def test_the_alerts_of_a_file_are_those_of_kafka(call: Callable[..., Done], told: Tell, tmp_path: Path) -> None:
    """Rows in CSV, JSON Lines and Parquet, and their events in a file, give the bytes that the workers would have sent."""
    expected = await told(list(events(TABLE)))
    assert {"opened", None} <= statuses(expected)
    assert any('"segment":"eu"' in line for line in expected)
    files = [
        (write_csv(tmp_path, TABLE), MAPPED),
        (write_lines(tmp_path, TABLE), MAPPED),
        (write_parquet(tmp_path, TABLE), MAPPED),
        (write_lines(tmp_path, events(TABLE), "events.jsonl"), ()),
    ]
    for file, options in files:
        done = call(file, *options, "--all")
        assert done.status == 0, done.stderr
        assert done.stdout.splitlines() == expected, file.name


async def test_rows_out_of_order_are_late_as_in_kafka(call: Callable[..., Done], told: Tell, tmp_path: Path) -> None:
    """A file whose times go back gives the workers' alerts all the same, and the report says what to do."""
    table = [*TABLE[:400], *TABLE[300:350], *TABLE[400:]]
    done = call(write_csv(tmp_path, table), *MAPPED, "--all")
    assert done.stdout.splitlines() == await told(list(events(table)))
    assert "raise models.fraud.lateness, which is 0s" in done.stderr
    assert "fraud: 100 rows came after their window was closed" in done.stderr  # 50 rows and 50 outcomes


async def test_labels_that_come_later_are_joined_as_in_kafka(call: Callable[..., Done], told: Tell, tmp_path: Path) -> None:
    """Labels ten minutes after their predictions, some twice and some too late, make the outcomes of the workers."""
    table = list(events(rows(every=6)))
    late = [{**one, "ts": one["ts"] + (600.0 if one["id"] % 9 else 200_000.0)} if "label" in one else one for one in table]
    again = [{**one, "label": not one["label"]} for one in late if "label" in one and one["id"] % 7 == 0]
    log = sorted([*late, *again], key=lambda event: event["ts"])
    expected = await told(log)
    assert any('"feature":"prediction.error"' in line for line in expected)
    assert call(write_lines(tmp_path, log, "events.jsonl"), "--all").stdout.splitlines() == expected


def test_only_alerts_are_printed_unless_all_is_asked_for(call: Callable[..., Done], tmp_path: Path) -> None:
    """Requests to retrain come with --all; without, the same lines without them."""
    file = write_csv(tmp_path, TABLE)
    some, every = (call(file, *MAPPED, *more).stdout.splitlines() for more in ((), ("--all",)))
    assert some == [line for line in every if '"type":"io.driftline.alert.v1"' in line]
    assert len(some) < len(every)


def test_twice_is_the_same(call: Callable[..., Done], tmp_path: Path) -> None:
    """The same file gives the same bytes, on stdout and in the file of windows."""
    file = write_csv(tmp_path, TABLE)
    first, second = (call(file, *MAPPED, "--write-windows", name) for name in ("first", "second"))
    assert first == second
    assert first.stdout
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


# -- how the file is read changes nothing ------------------------------------------------------------


def replayed(stretches: Iterator[Stretch]) -> tuple[list[bytes], list[bytes], dict[str, int]]:
    """Return the findings, the windows and the faults of a whole file."""
    windows: list[bytes] = []
    replaying = Replaying(MODELS, keep=windows.append)
    found: list[Alert | Request] = [one for stretch in stretches for one in replaying.add(stretch)]
    found += replaying.end()
    return [event_of(one) for one in found], windows, replaying.faults


ROLES = Roles(SPEC, "at", "truth", "answer", "shop")

READERS: dict[str, Callable[[Opened, int], Iterator[Stretch]]] = {
    "rows.csv": lambda file, size: read_csv(file, ROLES, rows=size),
    "rows.jsonl": lambda file, size: read_json_rows(file, ROLES, lines=size),
    "rows.parquet": lambda file, size: read_parquet(file, ROLES, rows=size),
    "events.jsonl": lambda file, size: read_events(file, MODELS, lines=size),
}


@pytest.mark.parametrize("name", READERS)
def test_the_size_of_a_stretch_changes_nothing(tmp_path: Path, name: str) -> None:
    """Read row by row or all at once: alerts, requests and windows are the same to the byte, bad rows included."""

    @effort(max_examples=6, deadline=None)
    @given(st.integers(0, 1 << 20), st.integers(1, 700))
    def check(seed: int, size: int) -> None:
        draw = random.Random(seed)
        table = [
            row if draw.random() > 0.05 else {**row, "at": row["at"] + draw.choice((-90.0, -5.0, 40.0)), "amount": None}
            for row in rows(seed=draw.randint(0, 9), seconds=5400, every=6)
        ]
        table.insert(draw.randrange(len(table)), {**table[0], "shop": "x" * 200})
        write_csv(tmp_path, table)
        write_lines(tmp_path, table)
        write_parquet(tmp_path, table)
        write_lines(tmp_path, events(table), "events.jsonl")
        found = []
        for rows_at_once in (size, 100_000):
            with opened(str(tmp_path / name)) as file:
                found.append(replayed(READERS[name](file, rows_at_once)))
        assert found[0] == found[1]
        assert found[0][1]
        assert sum(found[0][2].values()) >= 1

    check()


# -- windows -----------------------------------------------------------------------------------------


def test_windows_that_were_written_can_be_judged_again(call: Callable[..., Done], tmp_path: Path) -> None:
    """--write-windows and then --windows give the same alerts; from stdin and as a copy, too."""
    done = call(write_csv(tmp_path, TABLE), *MAPPED, "--all", "--write-windows", "history.windows")
    again = call("--windows", "history.windows", "--all", "--write-windows", "copy.windows")
    assert again.stdout == done.stdout
    assert again.status == 0
    assert again.stderr == done.stderr
    assert (tmp_path / "copy.windows").read_bytes() == (tmp_path / "history.windows").read_bytes()


def test_windows_are_judged_by_another_configuration(call: Callable[..., Done], tmp_path: Path) -> None:
    """A smaller budget and other features change the alerts; another width is told, because windows cannot be made wider."""
    call(write_csv(tmp_path, TABLE), *MAPPED, "--write-windows", "history.windows")
    usual = call("--windows", "history.windows").stdout
    assert '"feature":"amount"' in usual
    (tmp_path / "other.toml").write_text(CONFIG.replace("window =", 'features = ["country", "code"]\nwindow ='))
    other = call("--windows", "history.windows", "-c", "other.toml").stdout
    assert other
    assert '"feature":"amount"' not in other
    (tmp_path / "wide.toml").write_text(CONFIG.replace('"1m"', '"5m"'))
    wide = call("--windows", "history.windows", "-c", "wide.toml")
    assert wide.stdout == ""
    assert "windows of 1m were not judged: models.fraud.window is 5m now" in wide.stderr


async def test_the_windows_topic_can_be_judged(call: Callable[..., Done], tmp_path: Path, kafka_settings: KafkaSettings) -> None:
    """`--windows` without a file judges what is in Kafka; an empty topic is told."""
    kafka = f'[kafka]\nbootstrap = "{kafka_settings.bootstrap}"\nprefix = "{kafka_settings.prefix}"\n'
    (tmp_path / "kafka.toml").write_text(kafka + CONFIG)
    empty = call("--windows", "-c", "kafka.toml")
    assert (empty.status, empty.stdout) == (1, "")
    assert "is empty: there are windows once a worker has read events" in empty.stderr
    done = call(write_csv(tmp_path, TABLE), *MAPPED, "--all", "--write-windows", "history.windows")
    with opened("history.windows") as file:
        messages = [Outgoing(topic_name(kafka_settings.prefix, WINDOWS), b"fraud", value) for value in read_windows(file)]
    sender = Sender(kafka_settings, "test")
    await sender.send_all(messages)
    sender.close(10.0)
    again = call("--windows", "-c", "kafka.toml", "--all")
    assert again.stdout == done.stdout


def test_a_topic_that_cannot_be_reached_is_told(call: Callable[..., Done], tmp_path: Path) -> None:
    """Only --windows without a file needs Kafka; when that is away the exit status is 3."""
    (tmp_path / "driftline.toml").write_text('[kafka]\nbootstrap = "127.0.0.1:1"\n' + CONFIG)
    assert call(write_csv(tmp_path, TABLE), *MAPPED).status == 0
    done = call("--windows")
    assert (done.status, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


# -- what rows mean ------------------------------------------------------------------------------------


def test_a_file_of_events_may_speak_of_several_models(call: Callable[..., Done], tmp_path: Path) -> None:
    """Each model is watched by itself, and --model picks one."""
    (tmp_path / "driftline.toml").write_text(CONFIG + CONFIG.replace("fraud", "other"))
    both = [one for event in events(TABLE) for one in (event, {**event, "model": "other"})]
    file = write_lines(tmp_path, both, "events.jsonl")
    every, some = call(file), call(file, "--model", "fraud")
    assert {json.loads(line)["subject"] for line in every.stdout.splitlines()} == {"fraud", "other"}
    assert some.stdout.splitlines() == [line for line in every.stdout.splitlines() if json.loads(line)["subject"] == "fraud"]
    assert [line.split()[0] for line in some.stderr.splitlines()] == ["model", "fraud"]


def test_columns_are_features_unless_they_are_named(tmp_path: Path) -> None:
    """Time, label, prediction and segment are no features, nor what is ignored; the model's own answer is watched."""
    with opened(str(write_csv(tmp_path, TABLE))) as file:
        _, windows, _ = replayed(read_csv(file, replace(ROLES, ignored=("age",))))
    first = msgspec.msgpack.decode(next(value for value in windows if b"window" in value))
    assert set(first["features"]) == {*FEATURES, "prediction.label"} - {"age"}
