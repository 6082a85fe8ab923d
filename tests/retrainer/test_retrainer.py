"""The retrainer on real Kafka and Redis: from a request to a pointer that moved once, or to the reason why not."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import linear_model, preprocessing

from detectors.errors import ConfigError, EventError, UnavailableError
from detectors.identity import identity
from detectors.incidents.decision import Decision
from detectors.spec import ModelSpec, RetrainSpec
from retrainer.candidate import load_factory
from retrainer.publish import publish
from retrainer.request import parse
from retrainer.swap import Swap, Swaps
from retrainer.training import made_again
from retrainer.training_set import TrainingEnds, TrainingTopics
from retrainer.trial import Trial, TrialResult
from retrainer.worker import run_retrainer
from serving.registry.artifact import predict
from serving.registry.versions import Registry
from streams.kafka import Log, Outgoing, Record, Sender, create_topics
from streams.metrics import Metrics
from streams.records import window_codec
from streams.records.cloudevents import RETRAIN, SWAP, decode, encode
from streams.records.dead_letters import REASON, SOURCE
from streams.records.outcomes import Outcome, PredictionValue, SourceOffset, outcomes_of
from streams.records.outcomes import encode as encode_outcome
from streams.records.swap_event import Lineage
from streams.settings import Settings
from streams.state.store import Store
from streams.topics import DEAD, OUTCOMES, RETRAINS, SWAPS, WINDOWS, Topic, topic_name
from tests.support.background import background
from tests.support.training import rows_messages

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

CHANGE = 1_000.0


def make() -> Any:
    """Return a new untrained model."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def features(number: int) -> dict[str, float]:
    """Features of row `number`, the same in every run."""
    draw = random.Random(number)
    return {"x": draw.gauss(0, 1), "y": draw.gauss(0, 1)}


def old_world() -> Any:
    """Return a model that learned the world before the change: the label is x > 0."""
    model = make()
    for number in range(400):
        model.learn_one(features(number), features(number)["x"] > 0)
    return model


def outcome(number: int, *, changed: bool) -> bytes:
    """Return the outcome of row `number` after the change point; in a changed world the label is x <= 0."""
    shown = features(10_000 + number)
    at = CHANGE + number
    return encode_outcome(
        Outcome(
            id=f"row-{number}",
            model="m",
            ts=at + 60,
            predicted_at=at,
            model_version="1",
            prediction=PredictionValue(True),
            label=(shown["x"] > 0) != changed,
            source=SourceOffset(number % 4, number),
            at=number,
        )
    )


def request(identifier: str = "retrain-1", model: str = "m") -> bytes:
    """Return a request as the judge writes it."""
    data = {
        "model": model,
        "reason": "drift",
        "alert": "alert-1",
        "began_at": CHANGE,
        "requested_at": CHANGE + 600,
        "features": ["x"],
        "segment": "",
        "incidents": ["incident-1"],
    }
    return encode(RETRAIN, identifier, model, CHANGE + 600, data)


class RetrainerWorld:
    """The topics and the registry of one test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.redis, settings.signing_key)
        self.registry = Registry(self.store)
        self.sender = Sender(settings.kafka, "test")
        self.log = Log(settings.kafka, "test")

    def send(self, topic: Topic, values: list[bytes]) -> None:
        """Append to a topic; row n of the outcomes goes to partition n % 4, and its features are written before it."""
        name = topic_name(self.settings.kafka.prefix, topic)
        spread = topic is OUTCOMES
        messages = [Outgoing(name, b"m", value, (), n % 4 if spread else 0) for n, value in enumerate(values)]
        if spread:
            self.send_rows([one.source.offset for value in values for one in outcomes_of(value)])
        asyncio.run(self.sender.send_all(messages))

    def send_rows(self, numbers: list[int]) -> None:
        """Append the features of these rows."""
        shown = {partition: {n: features(10_000 + n) for n in numbers if n % 4 == partition} for partition in range(4)}
        kafka = self.settings.kafka
        pieces = [rows_messages(kafka, "m", partition, own) for partition, own in shown.items() if own]
        asyncio.run(self.sender.send_all([message for piece in pieces for message in piece]))

    def read(self, topic: Topic) -> list[Record]:
        """Return everything on a topic."""
        name = topic_name(self.settings.kafka.prefix, topic)
        return list(self.log.read(name, {number: low for number, (low, _) in self.log.ends(name).items()}))

    def decisions(self) -> list[dict[str, Any]]:
        """Return the swap events' data, after checking their ids."""
        events = [decode(record.value or b"", SWAP) for record in self.read(SWAPS)]
        assert all(event["id"] == identity("swap", event["data"]["request"]) for event in events)
        return [event["data"] for event in events]

    def close(self) -> None:
        """Let go of both."""
        self.sender.close()
        self.log.close()


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


@pytest.fixture
def world(settings: Settings) -> Iterator[RetrainerWorld]:
    """A deployment with one model, whose retrains need 200 rows and wait 60 seconds."""
    rules = RetrainSpec(min_rows=200, patience_seconds=60.0)
    spec = ModelSpec(name="m", factory="river_model_of_the_test:make", retrain=rules)
    made = RetrainerWorld(replace(settings, models=(spec,)))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the factory's module, which is the current one."""
    code = """
        from river import linear_model, preprocessing
        def make():
            return preprocessing.StandardScaler() | linear_model.LogisticRegression()
    """
    (tmp_path / "river_model_of_the_test.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def patient(world: RetrainerWorld, **changes: Any) -> Settings:
    """Return the settings with other retrain rules."""
    (spec,) = world.settings.models
    return replace(world.settings, models=(replace(spec, retrain=replace(spec.retrain, **changes)),))


def retrainer(settings: Settings, metrics: Metrics | None = None) -> AbstractContextManager[None]:
    """Run the retrainer in a thread for the length of a block; whatever ends it early fails the test."""
    return background(lambda stopping: run_retrainer(settings, metrics, stopping=stopping))


def test_a_changed_world_is_learned_proved_and_served(world: RetrainerWorld) -> None:
    """A request after a real change ends with a better version served, and with every number of the decision in its event."""
    publish(world.settings, "m", old_world(), rows=[features(1)])
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    metrics = Metrics()
    with retrainer(world.settings, metrics):
        eventually(world.decisions)
    (data,) = world.decisions()
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation, pointer.by) == (2, 2, "retrain-1")
    assert (data["decision"], data["version"], data["previous"], data["generation"]) == ("promoted", 2, 1, 2)
    assert (data["trained_rows"], data["holdout_rows"], data["began_at"]) == (180, 60, CHANGE)
    assert data["candidate"]["accuracy"] > 0.8
    assert data["champion"]["accuracy"] < 0.2
    assert data["p_value"] < 0.001
    assert data["reason"].startswith("candidate right on ")
    assert data["moved_at"] == pointer.moved_at
    assert data["lineage"]["offsets"] == {str(partition): [0, 60] for partition in range(4)}
    assert data["lineage"]["rows"] == 240
    assert len(made_again(world.log, msgspec.convert(data["lineage"], Lineage), "m", CHANGE).rows) == 240
    artifact = world.registry.load("m", 2)
    assert (artifact.parent, artifact.lineage["request"], len(artifact.golden)) == (1, "retrain-1", 20)
    assert predict(artifact.model, {"x": -2.0, "y": 0.0}).label is True
    (told,) = [window_codec.parse(record.value) for record in world.read(WINDOWS)]
    assert isinstance(told, Decision)
    assert (told.request, told.result, told.version, told.features) == ("retrain-1", "promoted", 2, ["x"])
    assert metrics.registry.get_sample_value("driftline_retrains_total", {"model": "m", "decision": "promoted"}) == 1


def test_labels_that_come_after_the_request_are_waited_for(world: RetrainerWorld) -> None:
    """A request that finds too few rows stays open until they are there."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(100)])
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        for start in range(100, 400, 100):
            world.send(OUTCOMES, [outcome(n, changed=True) for n in range(start, start + 100)])
        (data,) = eventually(world.decisions)
    assert data["decision"] == "promoted"
    assert data["trained_rows"] + data["holdout_rows"] >= 200


def test_a_candidate_that_is_not_better_is_rejected(world: RetrainerWorld) -> None:
    """Without a change nothing is promoted; the reason says how often they differed, and the judge hears of it."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=False) for n in range(240)])
    world.send(RETRAINS, [request()])
    with retrainer(patient(world, patience_seconds=0.5)):
        (data,) = eventually(world.decisions)
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (1, 1)
    assert (data["decision"], data["version"], data["moved_at"]) == ("rejected", None, None)
    assert "candidate" in data["reason"]
    (told,) = [window_codec.parse(record.value) for record in world.read(WINDOWS)]
    assert isinstance(told, Decision)
    assert told.result == "rejected"


def test_too_few_rows_abandon_the_request_with_the_count(world: RetrainerWorld) -> None:
    """When patience ends, the decision says how many rows there were and how many it needed."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(50)])
    world.send(RETRAINS, [request()])
    with retrainer(patient(world, patience_seconds=0.5)):
        (data,) = eventually(world.decisions)
    assert data["decision"] == "abandoned"
    assert data["reason"] == "50 labelled rows since the change point within 0.5 s, 200 are needed"
    assert (data["candidate"], data["champion"], data["p_value"]) == (None, None, None)


def send_without_rows(world: RetrainerWorld, numbers: range) -> None:
    """Append outcomes of a changed world whose features are nowhere."""
    name = topic_name(world.settings.kafka.prefix, OUTCOMES)
    messages = [Outgoing(name, b"m", outcome(n, changed=True), (), n % 4) for n in numbers]
    asyncio.run(world.sender.send_all(messages))


def test_rows_without_features_are_counted_in_the_reason(world: RetrainerWorld) -> None:
    """Labelled rows whose features are missing for good are not used, and the decision says how many and where."""
    publish(world.settings, "m", old_world())
    send_without_rows(world, range(240))
    world.send_rows(list(range(100)))
    world.send(RETRAINS, [request()])
    with retrainer(patient(world, patience_seconds=1.5)):
        (data,) = eventually(world.decisions)
    assert data["decision"] == "abandoned"
    assert data["reason"].startswith(
        "100 labelled rows since the change point within 1.5 s, 200 are needed; 140 of 240 labelled "
    )
    assert f"have no features in {world.settings.kafka.prefix}.rows" in data["reason"]


def test_features_that_come_after_their_labels_are_waited_for(world: RetrainerWorld) -> None:
    """Rows are written up to half a minute after the prediction; a request waits for them, and some may stay away."""
    publish(world.settings, "m", old_world())
    send_without_rows(world, range(260))
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        time.sleep(0.5)
        assert world.decisions() == []
        world.send_rows(list(range(240)))
        (data,) = eventually(world.decisions)
    assert (data["decision"], data["trained_rows"] + data["holdout_rows"]) == ("promoted", 240)
    assert "; 20 of 260 labelled rows have no features in " in data["reason"]


def test_a_first_version_must_beat_the_constant_answer(world: RetrainerWorld) -> None:
    """Where nothing is served yet, a fresh model is compared with always answering the commonest class."""
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        (data,) = eventually(world.decisions)
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (1, 1)
    assert (data["decision"], data["previous"], data["champion"]) == ("promoted", None, None)
    assert data["candidate"]["kind"] == "fresh"
    assert "always answering" in data["reason"]


def test_garbage_and_unknown_models_go_to_the_dead_letters_and_the_next_request_is_decided(world: RetrainerWorld) -> None:
    """What is no request is kept with its reason and its position, unchanged, and stops nothing."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    broken = encode(RETRAIN, "retrain-2", "m", 0.0, {"model": "m", "reason": "boredom", "began_at": 0.0, "requested_at": 0.0})
    world.send(RETRAINS, [b"not json", b"", b"[]", broken, request("retrain-3", "nobody"), request()])
    with retrainer(world.settings):
        (data,) = eventually(world.decisions)
    assert (data["request"], data["decision"]) == ("retrain-1", "promoted")
    letters = world.read(DEAD)
    assert [record.value for record in letters][:4] == [b"not json", b"", b"[]", broken]
    assert [dict(record.headers)[REASON] for record in letters] == [
        *([b"not_json"] * 2),
        b"wrong_type",
        b"wrong_type",
        b"unknown_model",
    ]
    assert dict(letters[0].headers)[SOURCE].endswith(b".retrains/0/0")


def test_a_request_is_decided_once_however_often_it_is_sent(world: RetrainerWorld) -> None:
    """A repeat of a decided request trains nothing and says nothing, in this process and in the next one."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request(), request()])
    with retrainer(world.settings):
        eventually(world.decisions)
    world.send(RETRAINS, [request(), request("retrain-2", "nobody")])
    with retrainer(world.settings):
        eventually(lambda: world.read(DEAD))
    assert len(world.decisions()) == 1
    assert world.registry.versions("m") == [1, 2]


def test_a_request_whose_only_candidate_raises_is_abandoned_and_not_the_process(world: RetrainerWorld, factory: Path) -> None:
    """The decision names the row and the error."""
    code = """
        class Fragile:
            def __init__(self): self.seen = 0
            def learn_one(self, x, y):
                self.seen += 1
                if self.seen == 100: raise RuntimeError("boom")
            def predict_one(self, x): return True
    """
    (factory / "fragile_model_of_the_test.py").write_text(textwrap.dedent(code))
    (spec,) = world.settings.models
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    with retrainer(replace(world.settings, models=(replace(spec, factory="fragile_model_of_the_test:Fragile"),))):
        (data,) = eventually(world.decisions)
    assert data["decision"] == "abandoned"
    assert data["reason"] == "no candidate is left: fresh: row row-99: learn_one raised RuntimeError: boom"


def test_a_champion_that_raises_on_every_row_is_replaced(world: RetrainerWorld, factory: Path) -> None:
    """The rows it cannot answer count against it; the candidate that goes on from it is dropped, the fresh one is judged."""
    code = """
        class Broken:
            def learn_one(self, x, y): raise RuntimeError("boom")
            def predict_one(self, x): raise KeyError("country")
    """
    (factory / "broken_champion_of_the_test.py").write_text(textwrap.dedent(code))
    publish(world.settings, "m", load_factory("broken_champion_of_the_test:Broken")())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        (data,) = eventually(world.decisions)
    assert (data["decision"], data["candidate"]["kind"], data["champion"]["accuracy"]) == ("promoted", "fresh", 0.0)
    assert "; the champion could not answer 60 of 60 rows; dropped warm: row row-0: learn_one raised" in data["reason"]


def trial_of(world: RetrainerWorld, log: Log) -> tuple[Trial, TrialResult]:
    """Return a trial of the request, and how it ends now."""
    (spec,) = world.settings.models
    topics = TrainingTopics.of(world.settings.kafka.prefix)
    trial = Trial(parse(request()), spec, world.registry, log, topics, started_at=0.0)
    ended = trial.advance(TrainingEnds.of(log, topics), 0.0, lambda _done, _all: None)
    assert ended is not None
    return trial, ended


@pytest.mark.parametrize("moved", [False, True], ids=["before the pointer moved", "after the pointer moved"])
def test_a_recorded_decision_is_finished_not_made_again(world: RetrainerWorld, moved: bool) -> None:
    """Killed after the decision was recorded, before or after the move: the next process finishes that very decision."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    swaps = Swaps(world.settings.kafka, world.store, world.registry, world.sender)
    _, ended = trial_of(world, world.log)
    swap = swaps.record(parse(request()), ended, 0)
    if moved:
        assert swaps.carry_out(swap)
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        (data,) = eventually(world.decisions)
    assert data == msgspec.to_builtins(swap.event)
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (2, 2)
    assert world.registry.versions("m") == [1, 2]


def test_a_swap_rolled_back_before_it_was_announced_stays_rolled_back(world: RetrainerWorld) -> None:
    """Killed after the move, rolled back by an operator: the next process announces the swap and moves nothing."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    swaps = Swaps(world.settings.kafka, world.store, world.registry, world.sender)
    assert swaps.carry_out(swaps.record(parse(request()), trial_of(world, world.log)[1], 0))
    world.registry.rollback("m", 1)
    world.send(RETRAINS, [request()])
    with retrainer(world.settings):
        eventually(world.decisions)
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (1, 3)


def test_a_candidate_that_lost_the_race_is_weighed_against_the_new_champion(world: RetrainerWorld) -> None:
    """When somebody else moved the pointer first, the proof is made again against what is served now."""
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    swaps = Swaps(world.settings.kafka, world.store, world.registry, world.sender)
    asked = parse(request())
    trial, ended = trial_of(world, world.log)
    swap = swaps.record(asked, ended, 0)
    assert ended.proof is not None
    other = world.registry.publish("m", ended.proof.artifact({"by": "somebody else"}))
    world.registry.promote("m", other, 1, "somebody else", 1.0)
    assert not swaps.carry_out(swap)
    again = trial.again(ended.proof, lambda _done, _all: None)
    assert (again.result, again.reason) == ("rejected", "candidate and champion lose the same on every held-out row")
    second = swaps.record(asked, again, 1)
    assert (second.event.result, second.event.previous) == ("rejected", other)
    assert [recorded.event for recorded in swaps.recorded(asked)] == [swap.event, second.event]


def test_a_recorded_decision_cannot_be_replaced(world: RetrainerWorld) -> None:
    """Whoever records second gets what stands already."""
    swaps = Swaps(world.settings.kafka, world.store, world.registry, world.sender)
    first = swaps.record(parse(request()), TrialResult("abandoned", "first"), 0)
    second = swaps.record(parse(request()), TrialResult("abandoned", "second"), 0)
    assert second == Swap(first.event, first.expected_generation, repeated=True)


CHILD = """
    import json, sys
    from detectors.spec import ModelSpec, RetrainSpec
    from retrainer.worker import run_retrainer
    from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
    given = json.loads(sys.argv[1])
    rules = RetrainSpec(min_rows=200, candidates=("fresh",))
    run_retrainer(Settings(
        kafka=KafkaSettings(bootstrap=given["bootstrap"], prefix=given["prefix"], session_timeout_seconds=6.0),
        redis=RedisSettings(url=given["redis"], prefix=given["prefix"]),
        signing_key=Secret(given["key"].encode()), retrainer_metrics_port=0,
        models=(ModelSpec(name="m", factory="slow_model_of_the_test:make", retrain=rules),),
    ))
"""

SLOW = """
    import pathlib, time
    from river import linear_model, preprocessing
    class Slow:
        def __init__(self):
            self.model, self.seen = preprocessing.StandardScaler() | linear_model.LogisticRegression(), 0
        def learn_one(self, x, y):
            self.model.learn_one(x, y)
            self.seen += 1
            if self.seen == 100:
                pathlib.Path("reached").touch()
                while pathlib.Path("hold").exists():
                    time.sleep(0.01)
        def predict_one(self, x):
            return self.model.predict_one(x)
    def make():
        return Slow()
"""


@contextmanager
def child(world: RetrainerWorld, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the retrainer as a process of its own in a directory."""
    given = {
        "bootstrap": world.settings.kafka.bootstrap,
        "prefix": world.settings.kafka.prefix,
        "redis": world.settings.redis.url,
        "key": world.settings.signing_key.reveal().decode(),
    }
    command = [sys.executable, "-c", textwrap.dedent(CHILD), json.dumps(given)]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_killed_in_the_middle_of_training_it_promotes_once(world: RetrainerWorld, factory: Path) -> None:
    """Kill -9 while a candidate learns: the next process does the request again, and one promotion is the end."""
    (factory / "slow_model_of_the_test.py").write_text(textwrap.dedent(SLOW))
    (factory / "hold").touch()
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    with child(world, factory) as process:
        eventually((factory / "reached").exists)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    assert world.decisions() == []
    (factory / "hold").unlink()
    with child(world, factory) as process:
        (data,) = eventually(world.decisions)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert (data["decision"], data["version"]) == ("promoted", 2)
    pointer = world.registry.current("m")
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (2, 2)


def test_told_to_stop_in_the_middle_of_training_it_ends_cleanly_and_undecided(world: RetrainerWorld, factory: Path) -> None:
    """SIGTERM while a candidate learns ends the process with status 0; the request stays open for the next one."""
    (factory / "slow_model_of_the_test.py").write_text(textwrap.dedent(SLOW))
    (factory / "hold").touch()
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [request()])
    with child(world, factory) as process:
        eventually((factory / "reached").exists)
        os.kill(process.pid, signal.SIGTERM)
        (factory / "hold").unlink()
        assert process.wait(20) == 0
    assert world.decisions() == []
    assert world.registry.current("m") is None


def test_the_process_says_where_its_metrics_are_and_ends_cleanly(world: RetrainerWorld, factory: Path) -> None:
    """One line on stdout when ready; /metrics answers there; SIGINT ends it with status 0."""
    (factory / "slow_model_of_the_test.py").write_text(textwrap.dedent(SLOW))
    with child(world, factory) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("driftline retrainer: ready (metrics http://127.0.0.1:")
        url = line.split("metrics ")[1].rstrip(")\n")
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"driftline_retrain_seconds" in answer.read()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0


def test_redis_away_delays_a_decision_and_loses_nothing(
    world: RetrainerWorld, own_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that hangs is waited for with one line in the log; the decision comes when it is back."""
    settings = replace(world.settings, redis=replace(world.settings.redis, url=own_redis.url))
    publish(settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(240)])
    world.send(RETRAINS, [b"shows that the retrainer is ready"])
    with retrainer(settings):
        eventually(lambda: world.read(DEAD))
        own_redis.freeze()
        world.send(RETRAINS, [request()])
        eventually(lambda: "trying on" in caplog.text)
        own_redis.thaw()
        (data,) = eventually(world.decisions)
    assert data["decision"] == "promoted"
    assert [record.getMessage()[:11] for record in caplog.records if "trying on" in record.getMessage()] == ["no Redis at"]


def test_a_killed_broker_delays_a_decision_and_loses_nothing(
    settings: Settings, own_kafka: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Kafka killed while a request waits for its rows: after its restart the rows come and it is decided, once."""
    kafka = replace(settings.kafka, bootstrap=own_kafka.bootstrap)
    create_topics(kafka)
    spec = ModelSpec(name="m", factory="river_model_of_the_test:make", retrain=RetrainSpec(min_rows=200, patience_seconds=300.0))
    world = RetrainerWorld(replace(settings, kafka=kafka, models=(spec,)))
    publish(world.settings, "m", old_world())
    world.send(OUTCOMES, [outcome(n, changed=True) for n in range(100)])
    world.send(RETRAINS, [request()])
    caplog.set_level("INFO", logger="driftline.retrainer")
    with retrainer(world.settings):
        eventually(lambda: "asked for" in caplog.text)
        own_kafka.kill()
        eventually(lambda: "trying on" in caplog.text, 60)
        own_kafka.start()
        world.send(OUTCOMES, [outcome(n, changed=True) for n in range(100, 300)])
        (data,) = eventually(world.decisions, 60)
    world.close()
    assert data["decision"] == "promoted"


def test_what_is_missing_at_the_start_is_one_clear_error(world: RetrainerWorld) -> None:
    """No key, no Redis, no topics, a wrong factory: each is an error before anything starts."""
    (spec,) = world.settings.models
    settings = world.settings
    with pytest.raises(ConfigError, match="DRIFTLINE_SIGNING_KEY"):
        run_retrainer(replace(settings, signing_key=type(settings.signing_key)(b"")))
    with pytest.raises(ConfigError, match=r'models\.m\.factory: "nowhere:make"'):
        run_retrainer(replace(settings, models=(replace(spec, factory="nowhere:make"),)))
    with pytest.raises(UnavailableError, match="no Redis at"):
        run_retrainer(replace(settings, redis=replace(settings.redis, url="redis://127.0.0.1:1/0")))
    with pytest.raises(UnavailableError, match="driftline topics create"):
        run_retrainer(replace(settings, kafka=replace(settings.kafka, prefix="nothing-here")))


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({}, "data"),
        ({"model": "m", "reason": "drift", "began_at": "now", "requested_at": 1.0}, "data.began_at"),
        ({"model": "m", "reason": "drift", "began_at": 1e300, "requested_at": 1.0}, "data.began_at"),
        ({"model": "m", "reason": "drift", "began_at": 1.0, "requested_at": 1.0, "features": [1]}, "data.features[0]"),
    ],
)
def test_a_wrong_request_names_the_field(data: dict[str, Any], path: str) -> None:
    """The error of a request that cannot be used says where it is wrong."""
    with pytest.raises(EventError) as refused:
        parse(encode(RETRAIN, "retrain-1", "m", 0.0, data))
    assert refused.value.path == path
