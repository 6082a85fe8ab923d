"""The HTTP service on real Kafka and real Redis: answers, swaps under load, faults, malformed input, the event log."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from river import linear_model, preprocessing

from detectors.errors import ConfigError, UnavailableError
from detectors.spec import ModelSpec
from driftline.servers.redis_server import RedisServer
from serving.http.eventlog import EventLog
from serving.http.run import listening, serve
from serving.http.service import Service
from serving.live import LiveModel
from serving.registry.artifact import Artifact, Prediction, dump, golden_rows, kind_of
from serving.registry.versions import Registry
from streams.kafka import Log, Record, Sender
from streams.metrics import Metrics
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.state.store import Store
from streams.topics import EVENTS, topic_name
from tests.support.records import decode

PATIENCE_SECONDS = 30.0
ROWS = tuple({"amount": float(row % 7), "country": float(row % 3)} for row in range(60))
PREDICT, LABEL, INFER = "/v1/models/fraud:predict", "/v1/models/fraud:label", "/v2/models/fraud/infer"
SPECS = (ModelSpec("fraud", max_features=20), ModelSpec("churn"))


def artifact(**changes: Any) -> Artifact:
    """A small trained model with golden rows that hold."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for row in ROWS:
        model.learn_one(row, row["amount"] > 3)
    made = Artifact(model=model, created_at=1.5, kind=kind_of(model), golden=golden_rows(model, ROWS[:5]), lineage={"rows": 60})
    return replace(made, **changes)


def until(truth: Callable[[], Any]) -> Any:
    """Return the first true answer, or fail when none came in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := truth()):
        if time.monotonic() > deadline:
            pytest.fail("it did not become true in time", pytrace=True)
        time.sleep(0.02)
    return answer


@dataclass
class Reply:
    """Status and decoded body of one answer."""

    status: int
    body: Any


class Client:
    """One connection that is kept open, as an application would."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Send one request; a body that is not bytes goes as JSON."""
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, path, payload, headers or {})
        answer = self._connection.getresponse()
        text = answer.read()
        return Reply(answer.status, json.loads(text) if "json" in (answer.headers.get_content_type()) else text)

    def get(self, path: str) -> Reply:
        """Send a GET."""
        return self.ask("GET", path)

    def post(self, path: str, body: Any) -> Reply:
        """Send a POST."""
        return self.ask("POST", path, body)


class Running:
    """The service in a thread of its own, on a port that the system chose."""

    def __init__(self, settings: Settings, sender: Sender | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.registry = Registry(Store(settings.redis, settings.signing_key, timeout_seconds=1.0))
        self.models = {spec.name: LiveModel(spec.name, self.registry, self.metrics, poll_seconds=0.2) for spec in SPECS}
        self.sender = Sender(settings.kafka, "test-serving") if sender is None else sender
        self.address = ""
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    async def _serve(self) -> None:
        log = EventLog(self.sender, self.settings.kafka, self.metrics)
        service = Service(SPECS, self.models, log, self.metrics)
        async with listening(service, self.settings.serve) as self.address:
            self._up.set()
            await self._stopping.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.sender.start_polling()
        for live in self.models.values():
            live.watch()
        self._thread.start()
        assert self._up.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, requests finished and log flushed."""
        for live in self.models.values():
            live.stop()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_SECONDS)
        self.sender.close(0.1)  # who needs the log has flushed it

    def client(self) -> Client:
        """Return a new connection."""
        return Client(self.address)

    def promote(self, made: Artifact | None = None, model: str = "fraud") -> int:
        """Publish and promote a version."""
        version = self.registry.publish(model, made or artifact())
        pointer = self.registry.current(model)
        generation = 0 if pointer is None else pointer.generation
        self.registry.promote(model, version, generation, f"test {version}", time.time())
        return version

    def serve_version(self, made: Artifact | None = None) -> int:
        """Publish and promote a version, and return once it is served."""
        version = self.promote(made)
        until(lambda: self.served_version() == version)
        return version

    def served_version(self) -> int | None:
        """Return the version in service."""
        served = self.models["fraud"].served
        return None if served is None else served.pointer.version

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of one metric, 0 when it was never touched."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def logged(self, count: int) -> list[Record]:
        """Return the events on the topic, of which there must be `count`."""
        assert self.sender.close(PATIENCE_SECONDS) == 0
        records = on_topic(self.settings.kafka)
        assert len(records) == count
        return records


def on_topic(settings: KafkaSettings) -> list[Record]:
    """Return all events that are on the topic."""
    topic = topic_name(settings.prefix, EVENTS)
    log = Log(settings, "test-log")
    try:
        return list(log.read(topic, {partition: first for partition, (first, _) in log.ends(topic).items()}))
    finally:
        log.close()


@pytest.fixture
def service(settings: Settings) -> Iterator[Running]:
    """A running service that has no version yet."""
    with Running(settings) as running:
        yield running


@pytest.fixture
def raw(redis_settings: RedisSettings) -> Any:
    """A bare client, for what an intruder would do."""
    return redis.Redis.from_url(redis_settings.url)


def test_a_process_without_versions_is_alive_and_not_ready(service: Running) -> None:
    """Before the first promotion: live 200, everything that needs a version 503 with a way out; after one model's 200."""
    client = service.client()
    row = {"features": ROWS[0]}
    assert client.get("/v2/health/live").status == 200
    assert client.get("/v2/health/ready") == Reply(503, {"ready": False, "without_version": ["fraud", "churn"]})
    assert client.get("/v2/models/fraud/ready").status == 503
    assert client.get("/v1/models/fraud").body == {"model": "fraud", "ready": False, "swaps": []}
    refused = client.post(PREDICT, row)
    assert refused.status == 503
    assert "no version was promoted yet" in refused.body["error"]
    service.promote()
    ready = until(lambda: reply if (reply := client.get("/v2/health/ready")).status == 200 else None)
    assert ready.body == {"ready": True, "without_version": ["churn"]}
    assert client.get("/v2/models/fraud/ready").status == 200
    assert client.get("/v2/models/churn/ready").status == 503
    assert client.post(PREDICT, row).status == 200


def test_a_prediction_says_which_version_gave_it(service: Running) -> None:
    """The answer has the id, the version as text, the generation, label and score."""
    service.serve_version()
    answer = service.client().post(PREDICT, {"id": "c0ffee-1", "features": {"amount": 6, "country": None}})
    assert answer.status == 200
    score = answer.body["prediction"].pop("score")
    assert answer.body == {"id": "c0ffee-1", "model": "fraud", "version": "1", "generation": 1, "prediction": {"label": True}}
    assert 0.5 < score < 1.0


def test_swaps_under_load_fail_no_request_and_never_go_back(service: Running) -> None:
    """While four clients keep asking, five swaps are made: all answers are 200, generations grow in each connection."""
    service.serve_version()
    stop = threading.Event()

    def keep_asking(_: int) -> list[tuple[int, int]]:
        client = service.client()
        seen = []
        while not stop.is_set():
            answer = client.post(PREDICT, {"features": ROWS[len(seen) % len(ROWS)]})
            seen.append((answer.status, answer.body.get("generation", -1)))
        return seen

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(keep_asking, number) for number in range(4)]
        try:
            for swaps in range(1, 6):
                service.serve_version()
                until(lambda swaps=swaps: len(service.models["fraud"].swaps) == swaps)
        finally:
            stop.set()
        seen = [client.result(PATIENCE_SECONDS) for client in clients]
    for answers in seen:
        assert {status for status, _ in answers} == {200}
        generations = [generation for _, generation in answers]
        assert generations == sorted(generations)
    assert max(answers[-1][1] for answers in seen) == 6
    state = service.client().get("/v1/models/fraud").body
    assert [(swap["replaced"], swap["version"], swap["by"]) for swap in state["swaps"]] == [
        (str(version - 1), str(version), f"test {version}") for version in range(2, 7)
    ]
    assert all(swap["seconds"] >= 0 for swap in state["swaps"])
    assert service.sample("driftline_swap_seconds_count", model="fraud") == 5
    assert service.sample("driftline_model_version", model="fraud") == 6
    assert service.sample("driftline_predictions_dropped_total", model="fraud") == 0


def test_a_rollback_is_served_with_a_higher_generation(service: Running) -> None:
    """Rolling back to version 1 answers with version 1 in generation 3."""
    service.serve_version()
    service.serve_version()
    service.registry.rollback("fraud", 1)
    until(lambda: service.served_version() == 1)
    answer = service.client().post(PREDICT, {"features": ROWS[0]}).body
    assert (answer["version"], answer["generation"]) == ("1", 3)


def test_an_altered_version_is_refused_once_and_the_old_one_answers(
    service: Running, raw: Any, prefix: str, tmp_path: Path
) -> None:
    """An altered blob does not run and is counted once, however often the pointer is read; the next good version is served."""
    service.serve_version()
    trap = tmp_path / "created"
    version = service.registry.publish("fraud", artifact())
    raw.set(f"{prefix}:blob:model/fraud/{version}", b"DLS1" + bytes(32) + dump(artifact(model=_Trap(trap), golden=())))
    service.registry.promote("fraud", version, 1, "intruder", time.time())
    client = service.client()
    refused = until(lambda: client.get("/v1/models/fraud").body.get("refused"))
    assert (refused["version"], refused["reason"]) == ("2", "signature")
    for _ in range(20):
        service.models["fraud"].refresh()
    assert service.sample("driftline_model_load_failures_total", model="fraud", reason="signature") == 1
    assert client.post(PREDICT, {"features": ROWS[0]}).body["version"] == "1"
    assert not trap.exists()
    assert service.serve_version() == 3
    assert "refused" not in client.get("/v1/models/fraud").body


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


def test_a_version_whose_golden_rows_differ_is_refused(service: Running) -> None:
    """A version that does not answer as it did when it was tested is not served."""
    service.serve_version()
    service.promote(artifact(golden=((ROWS[0], Prediction(True, 0.999)),)))
    refused = until(lambda: service.models["fraud"].refused)
    assert refused.reason == "unusable"
    assert "golden row 0" in refused.error
    assert service.served_version() == 1


def test_a_garbled_pointer_is_refused_once_and_the_version_in_service_answers(
    service: Running, raw: Any, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A pointer that cannot be read is logged and counted once however often it is looked at; written again, it is followed."""
    service.serve_version()
    raw.hset(f"{prefix}:pointer:model/fraud", "version", "latest")
    client = service.client()
    refused = until(lambda: client.get("/v1/models/fraud").body.get("refused"))
    assert (refused["version"], refused["reason"]) == (None, "unusable")
    for _ in range(20):
        assert not service.models["fraud"].refresh()
    assert service.sample("driftline_model_load_failures_total", model="fraud", reason="unusable") == 1
    assert [record.levelname for record in caplog.records if "latest" in record.getMessage()] == ["WARNING"]
    assert client.post(PREDICT, {"features": ROWS[0]}).body["version"] == "1"
    service.registry.rollback("fraud", 1)
    until(lambda: "refused" not in client.get("/v1/models/fraud").body)


def test_answers_go_on_while_redis_is_away_and_swaps_after_it(
    kafka_settings: KafkaSettings, settings: Settings, own_redis: RedisServer
) -> None:
    """With Redis killed every request is answered; once it is back, a new version is served."""
    away = replace(settings, redis=RedisSettings(url=own_redis.url, prefix="t"))
    with Running(away) as service:
        service.serve_version()
        client = service.client()
        own_redis.freeze()
        assert {client.post(PREDICT, {"features": row}).status for row in ROWS} == {200}
        own_redis.thaw()
        assert service.serve_version() == 2
        own_redis.kill()
        assert {client.post(PREDICT, {"features": row}).status for row in ROWS} == {200}
        assert client.get("/v2/health/ready").status == 200
        assert client.get("/v2/models/fraud/ready").status == 200


def test_an_emptied_redis_does_not_take_the_model_away(settings: Settings, own_redis: RedisServer) -> None:
    """A pointer that starts again at generation 1 is behind what is served: refused, with what to do."""
    with Running(replace(settings, redis=RedisSettings(url=own_redis.url, prefix="t"))) as service:
        service.serve_version()
        service.serve_version()
        redis.Redis.from_url(own_redis.url).flushall()
        service.promote()
        refused = until(lambda: service.models["fraud"].refused)
        assert "behind 2" in refused.error
        assert "restart this process" in refused.error
        assert service.client().post(PREDICT, {"features": ROWS[0]}).body["version"] == "2"


WRONG: tuple[tuple[str, bytes, int, str], ...] = (
    (PREDICT, b"", 400, "body: expected a JSON object"),
    (PREDICT, b"\xff\xfe", 400, "body: expected a JSON object"),
    (PREDICT, b"[1]", 400, "body: expected a JSON object, got [1]"),
    (PREDICT, b'{"features":{"a":NaN}}', 400, "send null for a missing value"),
    (PREDICT, b'{"features":{"a":1e999}}', 400, "body"),
    (PREDICT, b"{}", 400, "features: expected an object"),
    (PREDICT, b'{"features":{}}', 400, "features: expected 1 to 20 entries, got 0"),
    (
        PREDICT,
        json.dumps({"features": {str(n): n for n in range(21)}}).encode(),
        400,
        "features: expected 1 to 20 entries, got 21",
    ),
    (PREDICT, b'{"features":{"a":{"b":[1]}}}', 400, "features.a: expected a number, a string, true, false or null"),
    (PREDICT, b'{"features":{"a":[1]}}', 400, "features.a"),
    (PREDICT, b'{"features":{"":1}}', 400, "a name of 1 to 128 characters"),
    (PREDICT, b'{"features":{"a":1},"id":[]}', 400, "id: expected a string"),
    (PREDICT, b'{"features":{"a":1},"id":""}', 400, "id: expected a string"),
    (PREDICT, b'{"features":{"a":1},"ts":"yesterday"}', 400, "ts: expected an RFC 3339 time"),
    (PREDICT, b'{"features":{"a":1},"ts":true}', 400, "ts: expected an RFC 3339 time"),
    (PREDICT, b'{"features":{"a":1},"ts":"2999-01-01T00:00:00Z"}', 400, "ts: expected a time from 1970 on"),
    (PREDICT, b'{"features":{"a":1},"segement":"eu"}', 400, "segement: no such field; known are features"),
    (PREDICT, b'{"features":{"a":1},"tags":{"app":{}}}', 400, "tags.app"),
    (PREDICT, b'{"features":{"a":1},"tags":{"app":"%s"}}' % (b"x" * 129), 400, "tags.app: expected a string of at most 128"),
    (
        PREDICT,
        json.dumps({"features": {"a": 1}, "tags": {str(n): n for n in range(21)}}).encode(),
        400,
        "tags: expected 0 to 20 entries",
    ),
    (PREDICT, b'{"features":{"a":1},"client":"%s"}' % (b"c" * 129), 400, "client: expected a string of 1 to 128"),
    (PREDICT, b'{"features":{"a":"%s"}}' % (b"x" * 250_000), 400, "body: expected at most"),
    (PREDICT, b"x" * 300_000, 413, "body: more than 262144 bytes"),
    (PREDICT, b'{"features":{"amount":"twelve"}}', 422, "the model cannot answer for these features"),
    (LABEL, b'{"label":true}', 400, "id: expected the id that came with the prediction"),
    (LABEL, b'{"id":"1"}', 400, "label: expected true, false, a number or a string"),
    (LABEL, b'{"id":"1","label":[1]}', 400, "label: expected"),
    (LABEL, b'{"id":"1","label":"%s"}' % (b"l" * 257), 400, "label: expected a string of at most 256 characters"),
    (LABEL, b'{"id":"1","label":1,"client":""}', 400, "client: expected a string of 1 to 128"),
    (INFER, b'{"inputs":[]}', 400, "inputs: expected a list of 1 to 20 tensors"),
    (INFER, b'{"inputs":[1]}', 400, "inputs[0]: expected a tensor"),
    (INFER, b'{"inputs":[{"name":"a","datatype":"INT64","shape":[2],"data":[1]}]}', 400, "inputs[0].shape: expected [1]"),
    (
        INFER,
        b'{"inputs":[{"name":"a","datatype":"INT64","shape":[1],"data":[1.5]}]}',
        400,
        "inputs[0].data[0]: expected a value of INT64",
    ),
    (
        INFER,
        b'{"inputs":[{"name":"a","datatype":"TEXT","shape":[1],"data":["x"]}]}',
        400,
        "inputs[0].datatype: expected one of BOOL",
    ),
    (INFER, b'{"inputs":[{"name":"a","datatype":"BOOL","shape":[0],"data":[]}]}', 400, "inputs: expected tensors of one length"),
    ("/v1/models/frod:predict", b"{}", 404, "model 'frod': no such model; known are churn, fraud"),
    ("/v3/models/fraud", b"{}", 404, "POST /v3/models/fraud: no such route"),
    ("/v1/models/fraud", b"{}", 405, "POST /v1/models/fraud: no such route"),
)


def test_a_wrong_request_gets_the_field_and_the_way_out(service: Running) -> None:
    """Every kind of mistake gets a 4xx with one sentence, on a connection that goes on working, and leaves no event."""
    service.serve_version()
    client = service.client()
    for path, body, status, sentence in WRONG:
        answer = client.post(path, body)
        assert (answer.status, sentence in answer.body["error"]) == (status, True), (path, body[:80], answer)
        assert len(answer.body["error"]) < 500
    broken = client.ask("POST", PREDICT, b"not gzip", {"Content-Encoding": "gzip"})
    assert broken.status == 400
    assert service.client().post(PREDICT, {"features": ROWS[0]}).status == 200
    service.logged(1)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = (
    "features",
    "id",
    "ts",
    "segment",
    "client",
    "entity",
    "tags",
    "label",
    "inputs",
    "outputs",
    "name",
    "datatype",
    "shape",
    "data",
)
_TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": _JSON | st.just("amount"),
        "datatype": _JSON | st.sampled_from(("FP64", "INT8", "BOOL", "BYTES")),
        "shape": _JSON | st.just([1]) | st.just([2, 1]),
        "data": _JSON | st.lists(st.integers() | st.booleans() | st.text(max_size=3), max_size=2),
    },
)
_BODIES = st.one_of(
    st.binary(max_size=200),
    _JSON,
    st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=6),
    st.fixed_dictionaries(
        {
            "features": st.dictionaries(
                st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
            )
        },
        optional={"id": _JSON, "ts": _JSON, "segment": st.text(max_size=130), "tags": _JSON},
    ),
    st.fixed_dictionaries({"id": st.text() | st.integers(), "label": _JSON}, optional={"ts": st.floats() | st.integers()}),
    st.fixed_dictionaries({"inputs": st.lists(_TENSOR, max_size=3)}, optional={"id": _JSON, "outputs": _JSON}),
    # Some that are taken for certain: what is drawn depends on the constants in the sources, not on a seed alone.
    st.sampled_from(({"id": "c0ffee-1", "label": True}, {"features": {"amount": 12.5}})),
)


def test_no_body_gives_a_server_error_or_a_dead_letter(service: Running) -> None:
    """Whatever is sent, the answer is a 200, 202 or 4xx in JSON; and what was accepted are events that the workers take."""
    service.serve_version()
    client = service.client()
    accepted = 0

    @effort(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(path=st.sampled_from((PREDICT, LABEL, INFER)), body=_BODIES)
    def send(path: str, body: Any) -> None:
        nonlocal accepted
        answer = client.post(path, body)
        assert answer.status in (200, 202, 400, 422), answer
        if answer.status >= 400:
            assert isinstance(answer.body["error"], str)
        else:
            accepted += answer.body["outputs"][0]["shape"][0] if path == INFER else 1

    send()
    records = [_Wire(record) for record in service.logged(accepted)]
    assert accepted > 0
    assert decode(records, {spec.name: spec for spec in SPECS})[1] == []


class _Wire:
    """A record with the names that the workers' client gives it."""

    def __init__(self, record: Record) -> None:
        self.offset, self.value, self.timestamp = record.offset, record.value, int(record.timestamp_seconds * 1000)


def test_predictions_and_labels_are_logged_under_their_id(service: Running) -> None:
    """Both go to the events topic with the id as key, into one partition; what was given passes unchanged."""
    service.serve_version()
    client = service.client()
    row = {"id": "c0ffee-1", "ts": "2024-11-21T07:30:00.123Z", "segment": "eu", "entity": "card-81", "tags": {"app": "checkout"}}
    row["client"] = "web"
    row["features"] = {"amount": 12.5, "country": 1, "note": "x", "is_new": True, "age": None}
    answer = client.post(PREDICT, row).body
    assert client.post(LABEL, {"id": "c0ffee-1", "label": True, "ts": 1732183200, "client": "desk"}).status == 202
    unnamed = client.post(PREDICT, {"features": ROWS[0]}).body["id"]
    records: dict[bytes | None, list[Record]] = defaultdict(list)
    for record in service.logged(3):
        records[record.key].append(record)
    prediction, label = records[b"c0ffee-1"]
    assert prediction.partition == label.partition
    assert json.loads(prediction.value) == {
        "v": 1,
        "type": "prediction",
        "model": "fraud",
        "model_version": "1",
        "prediction": answer["prediction"],
        **row,
    }
    assert json.loads(label.value) == {
        "v": 1,
        "type": "label",
        "id": "c0ffee-1",
        "model": "fraud",
        "ts": 1732183200,
        "label": True,
        "client": "desk",
    }
    (other,) = records[unnamed.encode()]
    assert json.loads(other.value)["ts"].endswith("Z")


def test_a_broker_that_is_away_costs_logs_and_no_answers(settings: Settings) -> None:
    """With a full queue to a broker that is away, predictions are answered, their loss is counted; a label must come again."""
    away = replace(settings, kafka=replace(settings.kafka, bootstrap="127.0.0.1:1"))
    with Running(away, Sender(away.kafka, "test-serving", queue_bytes=1 << 10)) as service:
        service.serve_version()
        client = service.client()
        assert {client.post(PREDICT, {"features": row}).status for row in ROWS} == {200}
        assert service.sample("driftline_predictions_dropped_total", model="fraud") > 0
        labels = [client.post(LABEL, {"id": str(number), "label": True}) for number in range(20)]
        assert labels[-1].status == 503
        assert "send this label again" in labels[-1].body["error"]


def test_infer_answers_rows_of_tensors(service: Running) -> None:
    """Two named tensors of two rows give two ids, labels and scores, and two events."""
    service.serve_version()
    client = service.client()
    tensors = [
        {"name": "amount", "datatype": "FP64", "shape": [2, 1], "data": [[0.0], [6.0]]},
        {"name": "country", "datatype": "INT64", "shape": [2], "data": [1, None]},
    ]
    answer = client.post(INFER, {"id": "batch", "inputs": tensors})
    assert answer.status == 200
    ids, labels, scores = answer.body.pop("outputs")
    assert answer.body == {"model_name": "fraud", "model_version": "1", "id": "batch"}
    assert ids == {"name": "id", "datatype": "BYTES", "shape": [2], "data": ["batch-0", "batch-1"]}
    assert labels == {"name": "label", "datatype": "BOOL", "shape": [2], "data": [False, True]}
    single = client.post(PREDICT, {"features": {"amount": 6.0, "country": None}}).body["prediction"]
    assert scores["data"][1] == single["score"]
    only = client.post(INFER, {"inputs": tensors, "outputs": [{"name": "score"}]}).body["outputs"]
    assert only == [scores]
    assert {record.key for record in service.logged(5)} >= {b"batch-0", b"batch-1"}


def test_the_protocol_describes_the_server_and_its_models(service: Running) -> None:
    """Metadata name the version, the inputs seen in a golden row and the outputs."""
    service.serve_version()
    client = service.client()
    assert client.get("/v2").body["name"] == "driftline"
    described = client.get("/v2/models/fraud").body
    assert (described["name"], described["versions"]) == ("fraud", ["1"])
    assert {(tensor["name"], tensor["datatype"]) for tensor in described["inputs"]} == {("amount", "FP64"), ("country", "FP64")}
    assert {tensor["name"]: tensor["datatype"] for tensor in described["outputs"]} == {
        "id": "BYTES",
        "label": "BOOL",
        "score": "FP64",
    }


def test_metrics_count_requests_by_pattern(service: Running) -> None:
    """Routes are labelled by their pattern, and paths that do not exist by one word."""
    service.serve_version()
    client = service.client()
    client.post(PREDICT, {"features": ROWS[0]})
    client.get("/no/such/path")
    text = client.get("/metrics").body.decode()
    assert 'driftline_requests_total{route="/v1/models/{model}:predict",status="200"} 1.0' in text
    assert 'driftline_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "no/such" not in text


def test_serve_refuses_to_start_without_its_neighbours(settings: Settings, redis_server: RedisServer) -> None:
    """No model, no key, no Redis, no Kafka, no topic: one sentence each that says what to do."""
    whole = replace(settings, models=SPECS)
    faults: tuple[tuple[Settings, type[Exception], str], ...] = (
        (replace(whole, models=()), ConfigError, r"add a \[models.NAME\] block"),
        (replace(whole, signing_key=Secret(b"")), ConfigError, "DRIFTLINE_SIGNING_KEY: empty"),
        (replace(whole, redis=RedisSettings(url="redis://127.0.0.1:1/0")), UnavailableError, "no Redis at"),
        (replace(whole, kafka=replace(whole.kafka, bootstrap="127.0.0.1:1")), UnavailableError, "no Kafka at 127.0.0.1:1"),
        (replace(whole, kafka=replace(whole.kafka, prefix="nobody")), UnavailableError, "run `driftline topics create`"),
        (replace(whole, serve=replace(whole.serve, port=redis_server.port)), UnavailableError, "free the port"),
    )
    for wrong, kind, sentence in faults:
        with pytest.raises(kind, match=sentence):
            serve(wrong)


_PROCESS = """
import sys
from detectors.spec import ModelSpec
from serving.http.run import serve
from streams.settings import HttpSettings, KafkaSettings, RedisSettings, Secret, Settings
bootstrap, url, prefix, key = sys.argv[1:]
serve(Settings(
    kafka=KafkaSettings(bootstrap=bootstrap, prefix=prefix), redis=RedisSettings(url=url, prefix=prefix),
    serve=HttpSettings(port=0), signing_key=Secret(key.encode()), models=(ModelSpec("fraud"),),
))
"""


def test_a_process_that_is_asked_to_stop_finishes_requests_and_flushes_the_log(settings: Settings) -> None:
    """After SIGTERM it takes no new connection, answers the request whose body is still coming, logs it, and exits with 0."""
    registry = Registry(Store(settings.redis, settings.signing_key))
    registry.promote("fraud", registry.publish("fraud", artifact()), 0, "test", time.time())
    key = settings.signing_key.reveal().decode()
    command = [sys.executable, "-c", _PROCESS, settings.kafka.bootstrap, settings.redis.url, settings.redis.prefix, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said, _, address = process.stdout.readline().strip().rpartition(" ")
            assert said == "driftline serve: listening on"
            client = Client(address)
            for row in ROWS:
                assert client.post(PREDICT, {"features": row}).status == 200
            body = json.dumps({"id": "the last", "features": ROWS[0]}).encode()
            host, port = address.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
                head = f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # so the handler has it
                connection.sendall(body[:10])
                process.send_signal(signal.SIGTERM)
                until(lambda: refuses_connections(host, int(port)))
                connection.sendall(body[10:])
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
    records = on_topic(settings.kafka)
    assert len(records) == len(ROWS) + 1
    assert b"the last" in {record.key for record in records}


def refuses_connections(host: str, port: int) -> bool:
    """Tell whether nothing listens there."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return True
    return False
