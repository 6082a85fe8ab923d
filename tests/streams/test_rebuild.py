"""`driftline rebuild`: the same alerts from the windows, or from the events alone, whatever became of the rest."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import StateError
from detectors.incidents.decision import Decision
from detectors.incidents.retrain import Request
from detectors.model.aligner import WindowAligner
from detectors.model.model_monitor import ModelMonitor
from detectors.windows.record import Mark
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.kafka import GroupReader, Log, Outgoing, Sender, create_topics, delete_topics, partition_counts, truncate
from streams.records import window_codec, window_records
from streams.records.outcomes import encode, outcomes_of
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.state import binding, snapshot
from streams.state.rebuild import Plan, Rebuild, placed
from streams.state.store import Store
from streams.topics import ALERTS, EVENTS, JOIN, OUTCOMES, RETRAINS, ROWS, WINDOWS, topic_name
from tests.support.deployment import MODEL, ShopDeployment, end_of, shop_log, until
from tests.support.joins import pending, put_pending
from tests.support.simulated import watched
from tests.support.story import ROUND_ROBIN, SOURCES, SPEC, Record, as_bytes, check_carried_over, features_only

#: Windows of the whole story, and where x moves.
LENGTH, DRIFT_AT = 80, 45
Told = dict[str, set[bytes]]


@pytest.fixture
def deployment(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> Iterator[ShopDeployment]:
    """A deployment of the test's own on the shared servers."""
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    create_topics(kafka)
    made = ShopDeployment(tmp_path / "home", kafka, RedisSettings(url=redis_server.url, prefix=prefix), signing_key)
    yield made
    made.stop()
    delete_topics(kafka)


def begun(deployment: ShopDeployment, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Begin one command line of a deployment; without `stdin` nobody is at the keyboard."""
    environment = {**os.environ, "DRIFTLINE_SIGNING_KEY": deployment.key.reveal().decode()}
    command = [sys.executable, "-m", "driftline", "--config", str(deployment.config), *arguments]
    kept = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=stdin, stdout=kept, stderr=kept, text=True)


def driftline(deployment: ShopDeployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command line of a deployment to its end."""
    with begun(deployment, *arguments) as process:
        said, reason = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, said, reason)


def rebuilt(deployment: ShopDeployment, *arguments: str) -> str:
    """Run a rebuild that has to succeed and return what it said."""
    done = driftline(deployment, "rebuild", "--yes", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def story(prefix: str) -> list[Outgoing]:
    """Return the log of the shop with labels that stay as right as they were: what drifts is x alone."""
    log = []
    for message in shop_log(prefix, LENGTH, drift_at=DRIFT_AT):
        body = orjson.loads(message.value or b"")
        if body.get("type") == "label":
            body["label"] = random.Random(body["id"]).random() < 0.5
        log.append(replace(message, value=orjson.dumps(body)))
    return log


def told(deployment: ShopDeployment) -> Told:
    """Return alerts and requests: id -> the different byte strings under it."""
    return {**deployment.bytes_by_id(ALERTS), **deployment.bytes_by_id(RETRAINS)}


def copies(deployment: ShopDeployment) -> list[int]:
    """Return how often each alert stands in the topic."""
    ids = [orjson.loads(record.value or b"")["id"] for record in deployment.read(ALERTS)]
    return [ids.count(name) for name in sorted(set(ids))]


def outcomes(deployment: ShopDeployment) -> set[bytes]:
    """Return the outcomes, one by one; a repeat is the same bytes."""
    return {encode(one) for record in deployment.read(OUTCOMES) for one in outcomes_of(record.value)}


def run_to_the_end(deployment: ShopDeployment) -> None:
    """Let a worker judge everything, and stop it."""
    worker, _ = deployment.ready("worker")
    until(lambda: deployment.judged_to_the_end(end_of(LENGTH)) or None, seconds=120, what=f"the end; {worker.tail(1500)}")
    worker.stop()
    assert worker.exit_status == 0


def watched_once(deployment: ShopDeployment) -> None:
    """Let a worker judge the story, with a swap in the middle that answers the request, and a rebuild that is refused."""
    log = story(deployment.kafka.prefix)
    middle = round(len(log) * 0.6)
    deployment.send(log[:middle])
    worker, _ = deployment.ready("worker")
    (request,) = until(lambda: deployment.events(RETRAINS) or None, seconds=90, what=f"a request; {worker.tail(1500)}").values()
    answer = window_records.swap_record(
        deployment.kafka,
        swap_id="swap-1",
        model=MODEL,
        request=request["id"],
        result="promoted",
        version=2,
        features=request["features"],
        requested_at=request["requested_at"],
    )
    deployment.send([answer])
    with begun(deployment, "rebuild", "--from", "windows", "--yes") as refused:
        deployment.send(log[middle:])
        _, reason = refused.communicate(timeout=120)
    assert refused.returncode == 4
    assert f"group {deployment.kafka.prefix}.worker still has members" in reason
    until(lambda: deployment.judged_to_the_end(end_of(LENGTH)) or None, seconds=120, what=f"the end; {worker.tail(1500)}")
    worker.stop()
    assert worker.exit_status == 0


def test_from_windows_and_from_events_the_same_alerts_come_again(deployment: ShopDeployment) -> None:
    """Rebuilt from either, twice, or after an interruption, alerts, requests and outcomes are what they were, to the byte."""
    watched_once(deployment)
    before, pairs = told(deployment), outcomes(deployment)
    statuses = {orjson.loads(next(iter(values)))["data"].get("status") for values in before.values()}
    assert {"opened", "resolved", None} <= statuses  # None: a request; resolved: by the swap, so its place matters
    assert all(len(values) == 1 for values in before.values())
    assert len(pairs) > 100
    assert set(copies(deployment)) == {1}

    assert driftline(deployment, "rebuild", "--from", "windows").returncode == 2  # nobody is there to ask

    assert f"{deployment.kafka.prefix}.windows: read again from its beginning" in rebuilt(deployment, "--from", "windows")
    rebuilt(deployment, "--from", "windows")
    run_to_the_end(deployment)
    assert told(deployment) == before
    assert set(copies(deployment)) == {2}

    _interrupt(deployment)
    worker = deployment.start("worker")
    assert worker.wait(60) == 4
    assert "`driftline rebuild --from events` was begun" in worker.tail()
    other = driftline(deployment, "rebuild", "--from", "windows", "--yes")
    assert other.returncode == 4
    assert "finish that one first" in other.stderr
    rebuilt(deployment, "--from", "events")
    said = rebuilt(deployment, "--from", "events")
    assert "but for 1 decisions on retrains" in said
    kinds = [type(window_codec.parse(record.value)) for record in deployment.read(WINDOWS)]
    assert kinds == [Decision]
    assert deployment.read(OUTCOMES) == []
    run_to_the_end(deployment)
    assert told(deployment) == before
    assert set(copies(deployment)) == {3}
    assert outcomes(deployment) == pairs


def _interrupt(deployment: ShopDeployment) -> None:
    """Begin a rebuild from events and end it after its first step."""
    settings = Settings(kafka=deployment.kafka, redis=deployment.redis, signing_key=deployment.key)
    with Rebuild(settings) as rebuild:
        steps = rebuild.carry_out(rebuild.plan("events"))
        next(steps)


# -- decisions --------------------------------------------------------------------------------------


@effort(max_examples=15)
@given(st.lists(st.integers(0, SOURCES - 1), max_size=400), st.integers(1, 150))
def test_a_decision_that_was_carried_over_holds_where_it_did(order: list[int], delay: int) -> None:
    """In a history whose sources take turns in another way, with the decisions before it, all that is found is the same."""
    check_carried_over(_answered(features_only(ROUND_ROBIN), delay), order)


def _answered(records: list[Record], delay: int) -> list[Record]:
    """Return the records with a promotion so many records after the first request."""
    monitor = ModelMonitor.begin(SPEC)
    for number, record in enumerate(records):
        for finding in monitor.add(record):
            if isinstance(finding, Request):
                answer = Decision("swap-1", "m", finding.id, "promoted", 2, finding.features, requested_at=finding.requested_at)
                return [*records[: number + delay], answer, *records[number + delay :]]
    raise AssertionError("the story has no request")


def test_a_decision_goes_through_a_snapshot_on_the_way_to_its_place() -> None:
    """A judge that is stopped between the beginning of the history and the decision's place forgets neither."""
    features = features_only(ROUND_ROBIN)
    decided = _answered(features, 30)
    carried = list(placed(iter(decided)))
    kept, found = watched(SPEC, carried)
    for number, record in enumerate(features):
        found.extend(kept.add(record))
        if number % 50 == 0:
            kept = snapshot.load("judge/0", snapshot.dump({"m": kept}))["m"]
            kept.bind(SPEC)
    assert as_bytes(found) == as_bytes(watched(SPEC, decided)[1])


# -- what cannot be made again ---------------------------------------------------------------------


@pytest.fixture
def rebuild(settings: Settings) -> Iterator[Rebuild]:
    """A rebuild of a deployment whose first worker has been there."""
    binding.bind(Store(settings.redis, settings.signing_key), binding.current(settings.kafka))
    with Rebuild(settings) as made:
        yield made


def send(kafka: KafkaSettings, messages: Iterable[Outgoing]) -> None:
    """Write messages, each acknowledged."""
    sender = Sender(kafka, "tests-sender")
    asyncio.run(sender.send_all(list(messages)))


def marks(kafka: KafkaSettings, model: str, count: int, first: int = 0) -> list[Outgoing]:
    """Return marks of one source that go on for so many windows."""
    return [window_records.outgoing(kafka, Mark(model, "features", 0, 1, 60.0 * (first + number))) for number in range(count)]


def carried_out(rebuild: Rebuild, plan: Plan) -> list[str]:
    """Carry a plan out to its end and return what was said."""
    return list(rebuild.carry_out(plan))


def test_events_that_retention_removed_are_not_made_again_unasked(rebuild: Rebuild, settings: Settings) -> None:
    """Derived records whose events are gone are deleted only with --allow-loss; the message counts both."""
    kafka = settings.kafka
    events, windows = (topic_name(kafka.prefix, topic) for topic in (EVENTS, WINDOWS))
    send(kafka, [Outgoing(events, b"a", b"{}", partition=0)] * 7)
    send(kafka, marks(kafka, "m", 5))
    assert rebuild.plan("events").losses == ()
    truncate(kafka, events, {0: 3})
    with pytest.raises(StateError, match=rf"{events} no longer holds its first 3 records.*5 records of {windows}.*--allow-loss"):
        rebuild.plan("events")
    assert rebuild.plan("windows").losses == ()
    plan = rebuild.plan("events", allow_loss=True)
    assert any("no longer holds" in sentence for sentence in plan.sentences())
    carried_out(rebuild, plan)
    assert _log(kafka, windows) == {}


def test_what_was_made_from_events_goes_with_a_rebuild_from_events(rebuild: Rebuild, settings: Settings) -> None:
    """Outcomes, rows and the state of the join are emptied; from the windows they stay."""
    kafka = settings.kafka
    derived = [topic_name(kafka.prefix, topic) for topic in (OUTCOMES, JOIN, ROWS)]
    for name in derived:
        send(kafka, [Outgoing(name, f"m|{number}|{number + 1}".encode(), b"chunk", partition=2) for number in range(3)])
    carried_out(rebuild, rebuild.plan("windows"))
    assert [len(_log(kafka, name)) for name in derived] == [3, 3, 3]
    plan = rebuild.plan("events")
    for name in derived:
        assert f"3 records of {name} are deleted" in plan.sentences()
    said = carried_out(rebuild, plan)
    assert [_log(kafka, name) for name in derived] == [{}, {}, {}]
    assert [sentence for sentence in said if sentence.endswith(": emptied")] == [
        f"{topic_name(kafka.prefix, WINDOWS)}: emptied",
        *(f"{name}: emptied" for name in derived),
    ]


def test_a_deployment_without_the_topics_of_the_join_is_rebuilt(rebuild: Rebuild, settings: Settings) -> None:
    """Before `topics create` of this version a rebuild empties what there is."""
    names = [topic_name(settings.kafka.prefix, topic) for topic in (JOIN, ROWS)]
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    for future in admin.delete_topics(names).values():
        future.result(30)
    until(lambda: not set(names) & set(partition_counts(settings.kafka)) or None, what="the topics to go")
    plan = rebuild.plan("events")
    assert not set(names) & set(plan.empties)
    carried_out(rebuild, plan)


def test_a_state_of_another_cluster_is_taken_over_only_when_asked(rebuild: Rebuild, settings: Settings) -> None:
    """What belongs to another Kafka is refused with its name; taken over, offsets, outcomes and waiting halves begin anew."""
    store = Store(settings.redis, settings.signing_key)
    mine = binding.current(settings.kafka)
    binding.replace(store, msgspec.structs.replace(mine, cluster="elsewhere"))
    put_pending(settings.redis, "m:0", [("p:1", b"half")])
    store.save_snapshot("judge/2", None, 5, b"state")
    outcomes = topic_name(settings.kafka.prefix, OUTCOMES)
    send(settings.kafka, [Outgoing(outcomes, b"a", b"{}", partition=1)] * 3)
    with pytest.raises(StateError, match=r"Kafka cluster elsewhere.*3 records of .*outcomes.*cannot be made again"):
        rebuild.plan("windows")
    said = carried_out(rebuild, rebuild.plan("windows", allow_loss=True))
    assert binding.recorded(store) == mine
    assert pending(settings.redis) == {}
    assert store.load_snapshot("judge/2") is None
    assert _log(settings.kafka, outcomes) == {}
    assert sum("read again" in sentence for sentence in said) == 3


def test_other_keys_and_models_are_left_alone(rebuild: Rebuild, settings: Settings) -> None:
    """A rebuild drops snapshots and halves of its own prefix; models, pointers and other prefixes stay."""
    store = Store(settings.redis, settings.signing_key)
    other = Store(RedisSettings(settings.redis.url, f"{settings.redis.prefix}2"), settings.signing_key)
    for one in (store, other):
        one.put_blob("model/m/1", b"weights")
        one.move_pointer("m", 0, {"version": "1"})
        put_pending(one._settings, "m:0", [(f"p:{number}", b"half") for number in range(2500)])
        one.save_snapshot("judge/0", None, 5, b"state")
    said = carried_out(rebuild, rebuild.plan("events"))
    assert any("2,500 waiting predictions and labels in Redis dropped" in sentence for sentence in said)
    assert store.get_blob("model/m/1") == b"weights"
    assert store.pointer("m")["version"] == "1"
    assert store.load_snapshot("judge/0") is None
    assert pending(store._settings) == {}
    assert other.load_snapshot("judge/0") == (5, b"state")
    assert len(pending(other._settings)) == 2500


def test_the_history_follows_models_into_other_partitions(rebuild: Rebuild, settings: Settings) -> None:
    """After partitions were added to windows, each model's history is where its next window will be, and in order."""
    kafka = settings.kafka
    windows = topic_name(kafka.prefix, WINDOWS)
    models = [f"model-{number}" for number in range(12)]
    answer = {model: Decision(f"swap-{model}", model, "request", "rejected", None, []) for model in models}
    early = [[*marks(kafka, one, 3), window_records.outgoing(kafka, answer[one]), *marks(kafka, one, 3, 3)] for one in models]
    send(kafka, [message for part in early for message in part])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_partitions([NewPartitions(windows, 7)])[windows].result(30)
    until(lambda: binding.current(kafka).topics["windows"].partitions == 7 or None, what="seven partitions")
    late = [[*marks(kafka, model, 2, 6), window_records.outgoing(kafka, answer[model])] for model in models]
    send(kafka, [message for part in late for message in part])  # by a worker that had not noticed yet
    homes = {key: found[-1][0] for key, found in _log(kafka, windows).items()}
    assert any(len({number for number, _ in found}) > 1 for found in _log(kafka, windows).values())
    plan = rebuild.plan("windows")
    assert plan.moves
    carried_out(rebuild, plan)
    for model in models:
        found = _log(kafka, windows)[model.encode()]
        assert {number for number, _ in found} == {homes[model.encode()]}
        parsed = [window_codec.parse(value) for _, value in found]
        assert [one.until for one in parsed if isinstance(one, Mark)] == [60.0 * number for number in range(8)]
        assert isinstance(parsed[3], Decision)
        assert len(parsed) == 9
    assert not rebuild.plan("windows").moves


def _log(kafka: KafkaSettings, topic: str) -> dict[bytes | None, list[tuple[int, bytes]]]:
    """Return key -> (partition, value) of what a topic holds, newest last."""
    log = Log(kafka, "tests-reader")
    found: dict[bytes | None, list[tuple[int, bytes]]] = {}
    try:
        records = list(log.read(topic, {number: first for number, (first, end) in log.ends(topic).items()}))
    finally:
        log.close()
    for record in sorted(records, key=lambda one: (one.timestamp_seconds, one.partition, one.offset)):
        found.setdefault(record.key, []).append((record.partition, record.value or b""))
    return found


def test_whoever_says_no_has_changed_nothing(deployment: ShopDeployment) -> None:
    """On a terminal it says what will happen and asks; "n" leaves the state as it was."""
    store = Store(deployment.redis, deployment.key)
    store.save_snapshot("judge/0", None, 0, b"state")
    ours, theirs = os.openpty()
    with begun(deployment, "rebuild", "--from", "windows", stdin=theirs) as process:
        os.write(ours, b"n\n")
        said, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 130
    assert "- the judge's state is deleted" in said
    assert "Go on? [y/N]" in said
    assert store.load_snapshot("judge/0") == (0, b"state")
    assert binding.recorded(store) is None


def test_a_source_that_there_is_no_more_holds_up_nobody() -> None:
    """After a topic was made again with fewer partitions, the marks of those that are left complete the buckets."""
    aligner = WindowAligner()
    for source in range(4):
        aligner.advance(Mark("m", "features", source, 4, 60.0))
    assert aligner.complete() == 60.0
    aligner.advance(Mark("m", "features", 0, 2, 120.0))
    assert aligner.complete() == 60.0
    aligner.advance(Mark("m", "features", 1, 2, 180.0))
    assert aligner.complete() == 120.0


def test_nobody_may_be_in_the_groups(rebuild: Rebuild, settings: Settings) -> None:
    """A retrainer that runs is no matter while windows are judged again, and is refused where outcomes go."""
    reader = GroupReader(settings.kafka, "retrainer", topic_name(settings.kafka.prefix, RETRAINS))
    try:
        until(lambda: reader.poll(0.1) or reader.assigned() or None, what="the retrainer's partitions")
        assert rebuild.plan("windows").source == "windows"
        with pytest.raises(StateError, match=r"\.retrainer still has members .*stop every retrainer"):
            rebuild.plan("events")
    finally:
        reader.close()
