"""The loop on real Kafka and real Redis, with real processes: closed, exact, and hard to stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest

from driftline.config.load import load_settings
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from retrainer.publish import publish
from streams.kafka import create_topics, delete_topics
from streams.records.outcomes import Outcome, outcomes_of
from streams.records.training_rows import parse as parse_rows
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import ALERTS, DEAD, OUTCOMES, RETRAINS, ROWS, SWAPS
from tests.data.loop.loop_model import make
from tests.support.deployment import MODEL, ShopDeployment, end_of, event, shop_log, shop_rows, until

Deploy = Callable[[str], ShopDeployment]

WINDOWS, DRIFT_AT = 90, 60


@pytest.fixture
def deploy(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> Iterator[Deploy]:
    """Deployments with topics and keys of their own on the shared servers."""
    made: list[ShopDeployment] = []

    def new(name: str, redis_url: str = "") -> ShopDeployment:
        kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=f"{prefix}-{name}")
        create_topics(kafka)
        redis = RedisSettings(url=redis_url or redis_server.url, prefix=kafka.prefix)
        made.append(ShopDeployment(tmp_path / name, kafka, redis, signing_key))
        return made[-1]

    yield new
    for deployment in made:
        deployment.stop()
        delete_topics(deployment.kafka)


@pytest.fixture
def own_redis_url(own_redis: RedisServer) -> str:
    """A Redis that the test may take away."""
    return own_redis.url


def finished(deployment: ShopDeployment) -> None:
    """Wait until the worker has judged the whole log."""
    until(
        lambda: deployment.judged_to_the_end(end_of(WINDOWS)) or None, seconds=90, what=f"the end of the log; {tails(deployment)}"
    )


def tails(deployment: ShopDeployment) -> str:
    """Return the ends of the processes' logs, for a failure's message."""
    return "\n".join(f"{child.name}: {child.tail(1500)}" for child in deployment.children)


def test_the_same_input_twice_gives_the_same_alerts_byte_for_byte(deploy: Deploy) -> None:
    """Two deployments that read the same events raise the same alerts and requests, to the byte."""
    runs: list[dict[str, set[bytes]]] = []
    for name in ("first", "second"):
        deployment = deploy(name)
        deployment.send(shop_log(deployment.kafka.prefix, WINDOWS, drift_at=DRIFT_AT))
        worker, _ = deployment.ready("worker")
        finished(deployment)
        worker.stop()
        assert worker.exit_status == 0
        runs.append({**deployment.bytes_by_id(ALERTS), **deployment.bytes_by_id(RETRAINS)})
    assert runs[0] == runs[1]
    drifted = {feature["feature"] for values in runs[0].values() for value in values for feature in _features(value)}
    assert "x" in drifted


def _features(value: bytes) -> list[dict[str, Any]]:
    data = orjson.loads(value)["data"]
    return [feature for feature in data["features"] if isinstance(feature, dict)]


def test_kill_9_in_the_middle_changes_no_alert_and_no_outcome(deploy: Deploy) -> None:
    """Workers that are killed again and again at full speed leave the same alerts, requests, outcomes and rows behind."""
    calm, rough = deploy("calm"), deploy("rough")
    for deployment in (calm, rough):
        deployment.send(shop_log(deployment.kafka.prefix, WINDOWS, drift_at=DRIFT_AT))
    worker, _ = calm.ready("worker")
    finished(calm)
    worker.stop()  # writes the rows that waited to be more
    moments = random.Random(11)  # which seed is no matter; that it is the same in each run is
    for _ in range(4):
        worker = rough.start("worker")
        target = moments.uniform(0.0, 1.0)
        _kill_on_the_way(rough, worker, target)
    worker = rough.start("worker")
    until(lambda: rough.read(ALERTS) or None, seconds=60, what=f"the first alert; {tails(rough)}")
    worker.kill()  # between an alert and the snapshot that knows of it, or soon after
    worker, _ = rough.ready("worker")
    finished(rough)
    worker.stop()
    assert calm.read(ALERTS)
    for topic in (ALERTS, RETRAINS):
        assert rough.bytes_by_id(topic) == calm.bytes_by_id(topic)
    assert _outcomes(rough) == _outcomes(calm)
    rows = _rows(calm)
    assert len(rows) == WINDOWS * 40 + 4
    assert _rows(rough) == rows


def _rows(deployment: ShopDeployment) -> dict[tuple[int, int], Any]:
    """Return where a prediction stands -> its features, after checking that repeats say the same."""
    found: dict[tuple[int, int], Any] = {}
    for record in deployment.read(ROWS):
        rows = parse_rows(record.value)
        for offset, features in zip(rows.offsets.tolist(), rows.features(np.arange(len(rows))), strict=True):
            assert found.setdefault((record.partition, offset), features) == features
    return found


def _kill_on_the_way(deployment: ShopDeployment, worker: Any, share: float) -> None:
    """Kill -9 a worker once the windows topic has grown by some share of what a calm run writes."""
    before = _count(deployment)
    wanted = before + int(share * 900) + 1
    total = (WINDOWS - 2) * 40  # the labels of the last minute never come
    until(
        lambda: _count(deployment) >= min(wanted, total) or None,
        seconds=60,
        what=f"outcomes beyond {before}; {tails(deployment)}",
    )
    worker.kill()


def _count(deployment: ShopDeployment) -> int:
    return sum(len(outcomes_of(record.value)) for record in deployment.read(OUTCOMES))


def _outcomes(deployment: ShopDeployment) -> dict[tuple[int, int], Outcome]:
    """Return source -> outcome, after checking that repeats say the same."""
    by_source: dict[tuple[int, int], Outcome] = {}
    for record in deployment.read(OUTCOMES):
        for outcome in outcomes_of(record.value):
            key = (outcome.source.partition, outcome.source.offset)
            assert by_source.setdefault(key, outcome) == outcome
    return by_source


async def test_the_loop_closes(deploy: Deploy) -> None:
    """Drift in the rows of an HTTP client raises an alert and leads to a retrain; the same client is served the new version."""
    deployment = deploy("loop")
    settings = load_settings(deployment.config, {"DRIFTLINE_SIGNING_KEY": deployment.key.reveal().decode()}, need_key=True)
    model = make()
    for _, _, features, truth in shop_rows(20, drift_at=99):
        model.learn_one(features, truth)
    publish(settings, MODEL, model, rows=[{"x": 1.0, "y": 0.0, "colour": "red"}])
    deployment.ready("worker")
    deployment.ready("retrainer")
    _, url = deployment.ready("serve")
    versions: list[str] = []
    right: list[bool] = []
    async with aiohttp.ClientSession() as session:
        waiting: list[tuple[str, float, bool]] = []
        for identity, ts, features, truth in shop_rows(600, drift_at=DRIFT_AT):
            body = {"id": identity, "ts": ts, "features": features}
            async with session.post(f"{url}/v1/models/{MODEL}:predict", json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
            versions.append(answer["version"])
            right.append(answer["prediction"]["label"] == truth)
            waiting.append((identity, ts, truth))
            while waiting[0][1] <= ts - 60.0:
                due, at, label = waiting.pop(0)
                truth_of = {"id": due, "ts": at + 60.0, "label": label}
                async with session.post(f"{url}/v1/models/{MODEL}:label", json=truth_of) as response:
                    assert response.status == 202
            if len(versions) % 40 == 0:
                await asyncio.sleep(0.02)  # leaves the other processes a part of the machine
            if len(right) - _first_of(versions, "2") > 1000:
                break
    assert versions[0] == "1"
    assert "2" in versions, tails(deployment)
    alerts = deployment.events(ALERTS)
    promoted = [data for data in deployment.events(SWAPS).values() if data["decision"] == "promoted"]
    assert promoted[0]["alert"] in alerts
    assert promoted[0]["request"] in deployment.events(RETRAINS)
    assert any("x" in {verdict["feature"] for verdict in alert["features"]} for alert in alerts.values())
    swapped = versions.index(promoted[0]["version"].__str__())
    before = right[DRIFT_AT * 40 + 80 : swapped]
    after = right[swapped + 100 :]
    assert sum(after) / len(after) > sum(before) / len(before) + 0.2
    assert deployment.read(DEAD) == []


def _first_of(versions: list[str], wanted: str) -> int:
    return versions.index(wanted) if wanted in versions else len(versions)


def test_malformed_events_end_in_the_dead_letters_and_stop_nothing(deploy: Deploy) -> None:
    """2,000 malformed events among good ones are dead-lettered unchanged or counted late; the good ones are judged as ever."""
    deployment = deploy("garbage")
    prefix = deployment.kafka.prefix
    good = shop_log(prefix, WINDOWS, drift_at=DRIFT_AT)
    bad = [_garbage(prefix, number) for number in range(2000)]
    mixed = list(good[:-8])
    places = random.Random(3)
    for message in bad:
        mixed.insert(places.randrange(len(mixed)), message)
    deployment.send([*mixed, *good[-8:]])
    worker, _ = deployment.ready("worker")
    finished(deployment)
    dead = deployment.read(DEAD)
    sources = {dict(record.headers)["driftline-source"] for record in dead}
    wanted = sorted(message.value or b"" for message in bad)
    assert sorted(record.value or b"" for record in dead) == wanted
    assert len(sources) == len(bad)
    assert {dict(record.headers)["driftline-reason"] for record in dead} >= {
        b"not_json", b"too_deep", b"wrong_type", b"nested",
        b"too_large", b"unknown_type", b"unknown_model", b"future", b"wrong_time", b"empty"
    }  # fmt: skip
    assert worker.running
    clean = deploy("clean")
    clean.send(shop_log(clean.kafka.prefix, WINDOWS, drift_at=DRIFT_AT))
    clean.ready("worker")
    finished(clean)
    assert deployment.bytes_by_id(ALERTS).keys() == clean.bytes_by_id(ALERTS).keys()


def _garbage(prefix: str, number: int) -> Any:
    base = {"id": f"bad-{number}", "model": MODEL, "ts": 1.7e9, "features": {"x": 1.0}, "n": number}
    values: list[bytes] = [
        b"not json " + str(number).encode(),
        b"",
        b"\xff\xfe" + str(number).encode(),
        b'{"model": "shop", "features": {"x": NaN}, "n": %d}' % number,
        b"[" * 2000 + str(number).encode(),
        orjson.dumps({**base, "features": {"x": {"deep": [1, 2]}}}),
        orjson.dumps({**base, "features": [1, 2, 3]}),
        orjson.dumps({**base, "features": {"x": [1]}}),
        orjson.dumps({**base, "model": 7}),
        orjson.dumps({**base, "model": "no-such-model"}),
        orjson.dumps({**base, "type": "complaint"}),
        orjson.dumps({**base, "ts": "yesterday"}),
        orjson.dumps({**base, "ts": 4.0e9}),
        orjson.dumps({**base, "ts": "2999-01-01T00:00:00Z"}),
        orjson.dumps({**base, "ts": -5}),
        orjson.dumps({"model": MODEL, "label": True, "n": number}),
        orjson.dumps({**base, "features": {}, "prediction": None}),
        orjson.dumps({**base, "prediction": {"score": "high"}}),
        orjson.dumps({**base, "padding": "x" * (2 << 20)}) if number % 400 == 18 else orjson.dumps({"n": number}),
    ]
    message = event(prefix, {}, key=f"bad-{number}")
    return replace(message, value=values[number % len(values)])


def test_ancient_events_are_counted_as_late_and_not_lost_silently(deploy: Deploy) -> None:
    """Events from long before the watermark change no alert; each is counted in driftline_late_events_total."""
    deployment = deploy("ancient")
    prefix = deployment.kafka.prefix
    good = shop_log(prefix, WINDOWS, drift_at=DRIFT_AT)
    old = [
        event(prefix, {"id": f"old-{number}", "model": MODEL, "ts": 86_400.0, "features": {"x": 1e9}}, key=f"old-{number}")
        for number in range(50)
    ]
    deployment.send([*good[:-8], *old, *good[-8:]])
    _, address = deployment.ready("worker")
    finished(deployment)
    counted = asyncio.run(_metric(address, "driftline_late_events_total"))
    assert counted == len(old)
    assert deployment.read(DEAD) == []


async def _metric(address: str, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


async def test_redis_away_for_ten_seconds_loses_nothing(deploy: Any, own_redis: RedisServer) -> None:
    """While Redis is frozen serving goes on answering; afterwards every event is accounted for and the alerts are as without."""
    calm = deploy("calm")
    calm.send(shop_log(calm.kafka.prefix, WINDOWS, drift_at=DRIFT_AT))
    calm.ready("worker")
    finished(calm)
    calm.stop()
    rough = deploy("rough", own_redis.url)
    settings = load_settings(rough.config, {"DRIFTLINE_SIGNING_KEY": rough.key.reveal().decode()}, need_key=True)
    model = make()
    model.learn_one({"x": 1.0, "y": 0.0, "colour": "red"}, True)
    publish(settings, "shop", model, rows=[{"x": 1.0, "y": 0.0, "colour": "red"}])
    rough.ready("worker")
    _, url = rough.ready("serve")
    log = shop_log(rough.kafka.prefix, WINDOWS, drift_at=DRIFT_AT)
    rough.send(log[: len(log) // 3])
    until(lambda: _count(rough) > 200 or None, what="some outcomes")
    own_redis.freeze()
    try:
        rough.send(log[len(log) // 3 :])
        await _answering(url, seconds=10.0)
    finally:
        own_redis.thaw()
    await asyncio.to_thread(finished, rough)
    for topic in (ALERTS, RETRAINS):
        assert rough.bytes_by_id(topic) == calm.bytes_by_id(topic)
    assert _pairs(rough) == _pairs(calm)


def _pairs(deployment: ShopDeployment) -> dict[str, tuple[Any, ...]]:
    """Return id -> what was joined: the questions asked meanwhile have moved the offsets."""
    return {each.id: (each.ts, each.predicted_at, each.prediction, each.label) for each in _outcomes(deployment).values()}


async def _answering(url: str, *, seconds: float) -> None:
    """Ask for predictions for so long; every one has to be answered. They are of a time that no window waits for."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session:
        while asyncio.get_running_loop().time() < deadline:
            body = {"id": "asked", "ts": 1.0, "features": {"x": 0.5, "y": 0.5, "colour": "red"}}
            async with session.post(f"{url}/v1/models/{MODEL}:predict", json=body) as response:
                assert response.status == 200
            await asyncio.sleep(0.05)
