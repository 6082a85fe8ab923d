"""The README, done as it says: every command is run, on real Kafka and Redis, and what it sends arrives.

The commands are run once, in the order of the page, in an empty directory. Only addresses, ports and the
prefix of the topics are replaced by those of this run. What one command leaves (a key, topics, a version)
is what the next ones find, as for a reader.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from river import linear_model, preprocessing

from driftline.config.load import load_settings
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.ports import free_port
from driftline.servers.redis_server import RedisServer
from retrainer.publish import publish
from serving.registry.artifact import predict
from streams.events.event import Event
from streams.kafka import Log, Record, delete_topics
from streams.records.outcomes import Outcome, outcomes_of
from streams.settings import Settings
from streams.topics import DEAD, EVENTS, OUTCOMES, RETRAINS, TOPICS, Topic, topic_name
from tests.support.command_line import Done
from tests.support.documents import blocks, text_of
from tests.support.paths import ROOT
from tests.support.records import Fetched, decode

README = ROOT / "README.md"
PATIENCE_SECONDS = 60.0
#: The line with which each process that stays says that it is ready.
READY = {
    "driftline worker": "driftline worker: ready",
    "driftline retrainer": "driftline retrainer: ready",
    "driftline serve": "driftline serve: listening on",
}
#: Programs of which a command of the page may be made.
RUNNABLE = {"driftline", "python3", "kcat", "curl", "promtool", "echo", "chmod", "make"}
OPTIONAL = {"kcat", "curl", "promtool"}
_T = TypeVar("_T")


def commands() -> list[str]:
    """Return every command line of the page's shell blocks, in order."""
    lines = "\n".join(blocks(README, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def programs(command: str) -> list[str]:
    """Return the programs that a line of shell starts."""
    words = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    found: list[str] = []
    first = True
    for word in words:
        if first:
            found.append(word)
        first = word in {"|", "&&", "||", ";"}
    return found


def until(answer: Callable[[], _T | None]) -> _T:
    """Return the first answer that is true, or fail when none came in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := answer()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)
    return found


@dataclass
class Reader:
    """Somebody who does what the page says."""

    home: Path
    kafka: KafkaServer
    redis: RedisServer
    done: dict[str, Done] = field(default_factory=dict)
    processes: dict[str, Child] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def prefix(self) -> str:
        """First part of this run's topics and keys."""
        return f"readme-{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a reader's shell has: the virtual environment on PATH, and free ports."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}"
        ports = {f"DRIFTLINE_{name}_METRICS_PORT": "0" for name in ("WORKER", "RETRAINER")}
        return bare | ports | {"PATH": path, "DRIFTLINE_SERVE_PORT": str(self.port)}

    @property
    def settings(self) -> Settings:
        """What Driftline understands of the page's configuration."""
        return load_settings(self.home / "driftline.toml", {})

    def here(self, text: str) -> str:
        """Return a text of the page with the addresses and names of this run."""
        text = text.replace("127.0.0.1:9092", self.kafka.bootstrap).replace("redis://127.0.0.1:6379/0", self.redis.url)
        topics = "|".join(topic.name for topic in TOPICS)
        return re.sub(
            rf"\bdriftline\.({topics})\b", rf"{self.prefix}.\1", text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        )

    def configure(self) -> None:
        """Write the page's driftline.toml and shop.py."""
        text = self.here(blocks(README, "toml")[0])
        named = re.sub(r"^\[(kafka|redis)\]$", rf'[\1]\nprefix = "{self.prefix}"', text, flags=re.MULTILINE)
        (self.home / "driftline.toml").write_text(named)
        (shop,) = [block for block in blocks(README, "python") if block.startswith("# shop.py")]
        (self.home / "shop.py").write_text(shop)

    def run(self, command: str, *arguments: str, directory: Path | None = None) -> Done:
        """Run a program to its end."""
        done = subprocess.run(
            [command, *arguments],
            cwd=directory or self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return Done(done.returncode, done.stdout)

    def do(self, command: str) -> None:
        """Run a command of the page, as far as this machine has the programs."""
        if any(shutil.which(program) is None for program in OPTIONAL & set(programs(command))):
            return
        if command in READY:
            line = ["sh", "-c", f"cd {shlex.quote(str(self.home))} && exec {command}"]
            child = Child(line, log=self.home / f"{command}.log", name=command, environment=self.environment)
            self.processes[command] = child.start()
            child.until(lambda: READY[command] in child.tail() or None, timeout_seconds=PATIENCE_SECONDS)
            return
        if programs(command)[0] == "make":
            self.done[command] = self.run("make", "-n", *command.split()[1:], directory=ROOT)
            return
        if "curl" in programs(command):
            self.answering()
        self.done[command] = self.run("sh", "-eu", "-c", self.here(command))

    def send_in_python(self) -> None:
        """Run the page's lines that send an event."""
        (lines,) = [block for block in blocks(README, "python") if "confluent_kafka" in block]
        self.done["python"] = self.run(sys.executable, "-c", self.here(lines))

    def answering(self) -> None:
        """Wait until the service has a version, which is published at its first call."""
        settings = load_settings(self.home / "driftline.toml", {}, need_key=True)
        if not self.versions:
            model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
            for number in range(50):
                model.learn_one({"amount": float(number)}, number > 25)
            self.versions.append(publish(settings, "fraud", model).version)
        until(self.ready)

    versions: list[int] = field(default_factory=list)

    def ready(self) -> bool:
        """Whether the service has a version."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=5) as response:
            return bool(response.status == 200)
        return False

    def records(self, topic: Topic) -> list[Record]:
        """Return what is on a topic."""
        log = Log(self.settings.kafka, f"readme-{topic.name}")
        try:
            name = topic_name(self.prefix, topic)
            return list(log.read(name, {number: first for number, (first, _) in log.ends(name).items()}))
        finally:
            log.close()

    def joined(self) -> bool:
        """Whether the worker has joined every label that was sent with its prediction."""
        self.outcomes = {one.id: one for record in self.records(OUTCOMES) for one in outcomes_of(record.value)}
        return self.labelled() <= set(self.outcomes)

    def labelled(self) -> set[str]:
        """Return the ids whose labels were sent by the commands that could be run here."""
        sent = [command for command in self.done if '"label": ' in command]
        return {match[1] for command in sent if (match := re.search(r'"id": "([^"]+)"', command))}

    def follow(self) -> None:
        """Do everything that the page says, in its order, then stop the processes."""
        self.configure()
        for command in commands():
            self.do(command)
            if command == "driftline serve":
                self.send_in_python()
        until(self.joined)
        for name, child in self.processes.items():
            self.done[name] = Done(-1 if (status := child.stop(30)) is None else status, child.tail())


@pytest.fixture(scope="module")
def reader(kafka_server: KafkaServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has done everything that the page says."""
    reader = Reader(tmp_path_factory.mktemp("readme"), kafka_server, redis_server)
    with ExitStack() as ending:
        ending.callback(lambda: delete_topics(reader.settings.kafka))
        ending.callback(lambda: [child.kill() for child in reader.processes.values()])
        reader.follow()
        yield reader


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_is_run_here(command: str):
    """A new kind of command on the page needs a way to be tested."""
    assert set(programs(command)) <= RUNNABLE


@pytest.mark.parametrize("command", commands())
def test_every_command_works(reader: Reader, tool: Callable[[str], str], command: str):
    """Each command ends with 0; a process that stays gets ready, and ends with 0 when it is told to."""
    for program in OPTIONAL & set(programs(command)):
        tool(program)
    done = reader.done[command]
    assert done.status == 0, done.stdout
    assert "Traceback" not in done.stdout


def test_the_lines_in_python_work(reader: Reader):
    """The lines that send an event are five, and run as they stand."""
    (lines,) = [block for block in blocks(README, "python") if "confluent_kafka" in block]
    assert len(lines.splitlines()) == 5
    assert reader.done["python"] == Done(0, "")


def accepted(reader: Reader) -> dict[tuple[str, str], tuple[int, Event]]:
    """Return (id, kind) -> partition and event of everything on the events topic, after checking that all of it is taken."""
    models: Mapping[str, Any] = {model.name: model for model in reader.settings.models}
    found: dict[tuple[str, str], tuple[int, Event]] = {}
    for record in reader.records(EVENTS):
        fetched = Fetched(record.value, record.offset, int(record.timestamp_seconds * 1000))
        events, dead = decode([fetched], models)
        assert [letter.error for letter in dead] == []
        found.update({(str(event.id), event.kind): (record.partition, event) for event in events if event.kind != "tick"})
    return found


def test_what_python_sends_is_taken(reader: Reader):
    """The event of the five lines arrives as it was meant."""
    _, event = accepted(reader)["c0ffee-1", "prediction"]
    assert (event.model, event.features, event.label, event.score) == ("fraud", {"amount": 12.5, "country": "NO"}, True, 0.93)


def test_what_kcat_sends_is_taken_and_joined(reader: Reader, tool: Callable[[str], str]):
    """Prediction and label sent with kcat meet in one partition, and the worker joins them."""
    tool("kcat")
    events = accepted(reader)
    assert events["c0ffee-2", "prediction"][0] == events["c0ffee-2", "label"][0]
    outcome = reader.outcomes["c0ffee-2"]
    assert (outcome.prediction.label, outcome.label) == (False, True)


def test_what_the_service_answers_is_logged_and_joined(reader: Reader, tool: Callable[[str], str]):
    """A request and a label sent with curl become an outcome with the version that answered."""
    tool("curl")
    events = accepted(reader)
    assert {("c0ffee-3", "prediction"), ("c0ffee-3", "label")} <= set(events)
    assert reader.outcomes["c0ffee-3"].model_version == "1"


def test_nothing_went_to_the_dead_letters(reader: Reader):
    """The page shows no event that cannot be used."""
    assert reader.records(DEAD) == []


def test_a_retrain_by_hand_is_a_request(reader: Reader):
    """`driftline retrain` writes one request, for the model and by hand."""
    (record,) = reader.records(RETRAINS)
    data = msgspec.json.decode(record.value or b"")["data"]
    assert (data["model"], data["reason"]) == ("fraud", "on_demand")


def test_the_dashboard_and_the_rules_are_written(reader: Reader):
    """`driftline dashboards build` leaves both files where the next command looks for them."""
    assert {path.name for path in (reader.home / "monitoring").iterdir()} == {"driftline.json", "rules.yml"}


def test_the_model_of_the_page_learns_and_answers_what_the_page_sends():
    """`make()` of shop.py takes the features of every event and request of the page, text and all, and can be pickled."""
    (shop,) = [block for block in blocks(README, "python") if block.startswith("# shop.py")]
    names: dict[str, Any] = {}
    exec(shop, names)
    shown = [json.loads(found) for found in re.findall(r'"features": (\{[^{}]*\})', text_of(README))]
    assert {type(value) for features in shown for value in features.values()} >= {str, float, int}
    model = names["make"]()
    for number, features in enumerate(shown * 2):
        assert predict(model, features).label in {True, False}
        model.learn_one(features, number % 2 == 0)
    again = pickle.loads(pickle.dumps(model))
    assert [predict(again, features) for features in shown] == [predict(model, features) for features in shown]


def test_the_key_is_for_its_owner_only(reader: Reader):
    """The command that makes the signing key leaves 64 hexadecimal digits that only the owner may read."""
    key = reader.home / "signing_key"
    assert re.fullmatch(r"[0-9a-f]{64}", key.read_text().strip())
    assert key.stat().st_mode & 0o077 == 0


def test_the_processes_end_because_they_are_told_to(reader: Reader):
    """The three processes that stay are the ones of the page, and none is left."""
    assert list(reader.processes) == list(READY)
    assert not [name for name, child in reader.processes.items() if child.running]


def test_ci_has_every_program_of_the_page():
    """What a reader may lack and a test would skip, the CI machine installs."""
    installed = set(re.findall(r"^  \[([\w-]+)\]=", text_of(ROOT / ".ci" / "run"), re.MULTILINE))
    assert installed >= OPTIONAL | {"make"}


def test_the_page_can_be_read_in_one_sitting():
    """The page has at most 200 lines, and says what Driftline is for and how to try it within the first forty."""
    lines = text_of(README).splitlines()
    assert len(lines) <= 200
    assert {"make demo", "make test"} <= set(lines[:40])
