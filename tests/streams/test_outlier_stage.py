"""The outlier stage on a real Redis: single events against the reference in force, and never more than it should write."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest
import redis

from detectors.errors import StateError
from detectors.model.finding import ReferenceLearned
from detectors.reference.feature_reference import FeatureReference
from detectors.spec import ModelSpec, OutlierSpec
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.records import cloudevents
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.outliers import OutlierStage
from streams.state.references import References
from streams.state.store import Store
from tests.support.clock import Clock
from tests.support.records import NOW, batch_of, feed, log_of, make_durable
from tests.support.wired import wired

KAFKA = KafkaSettings(prefix="t")
MODELS = {
    "m": ModelSpec("m", window_seconds=60.0, outliers=OutlierSpec(distance=6.0, per_window=3)),
    "other": ModelSpec("other"),
    "off": ModelSpec("off", outliers=OutlierSpec(enabled=False)),
}
BEGIN = NOW - NOW % 60 - 6000


class Counting(Store):
    """A Redis that counts how often a pointer was looked at."""

    looks = 0

    def pointer(self, name: str) -> dict[str, str]:
        """Look, and count."""
        self.looks += 1
        return super().pointer(name)


@pytest.fixture
def store(redis_settings: RedisSettings, signing_key: Secret) -> Counting:
    """A Redis of the test's own."""
    return Counting(redis_settings, signing_key)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of the test's own."""
    return Metrics()


def learned(model: str = "m", segment: str = "", *, center: float = 0.0, at: float = 0.0) -> ReferenceLearned:
    """Return a reference of x around a center, one of a feature that never varied, and one of a category."""
    quantiles = np.linspace(center - 3.0, center + 3.0, 256)
    empty = np.empty(0)
    return ReferenceLearned(
        model,
        segment,
        at,
        {
            "x": FeatureReference(quantiles, {}, 0.0, {}, center),
            "fixed": FeatureReference(np.full(256, 1.0), {}, 0.0, {}, 1.0),
            "colour": FeatureReference(empty, {"red": 0.5, "blue": 0.5}, 0.0, {"red": 9, "blue": 9}, float("nan")),
        },
    )


def stage(store: Store, metrics: Metrics, clock: Clock | None = None, start: int = 0) -> OutlierStage:
    """Return the stage as a worker begins it."""
    return OutlierStage(wired(MODELS, store=store, metrics=metrics), partition=2, start=start, clock=clock or Clock())


def event(number: int, x: Any = 0.5, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return an event, a second after the one before."""
    return {"model": model, "id": str(number), "ts": BEGIN + number, "features": {"x": x}, **fields}


async def found(scoring: OutlierStage, events: Sequence[Any], first: int = 0) -> list[dict[str, Any]]:
    """Return the outlier events written of a fetch."""
    log = log_of(events, partition=2, first=first)
    await scoring.feed(batch_of(log), first)
    return data_of(await make_durable(scoring.checkpoint(first + len(log), final=False)))


def data_of(messages: Sequence[Outgoing]) -> list[dict[str, Any]]:
    """Return the data of outlier events, after checking topic, key and schema."""
    schema = json.loads(resources.files("streams").joinpath("schemas", "outlier.v1.json").read_bytes())
    told = []
    for message in messages:
        told_of = cloudevents.decode(message.value or b"", cloudevents.OUTLIER)
        assert (message.topic, message.key) == ("t.outliers", told_of["subject"].encode())
        jsonschema.validate(told_of["data"], schema)
        told.append(told_of["data"])
    return told


def outliers_counted(metrics: Metrics, model: str = "m") -> float:
    """Return how many outliers were seen."""
    return metrics.registry.get_sample_value("driftline_outliers_total", {"model": model}) or 0.0


async def test_an_event_far_outside_is_told_with_what_makes_it_so(store: Counting, metrics: Metrics) -> None:
    """An outlier names the event, the reference and its far features, the farthest first; what lies within is passed over."""
    version = References(store).publish(learned())
    log = [event(0), event(1, 40.0, features={"x": 40.0, "fixed": 2, "colour": "new", "unknown": 1e9}), event(2, -3.0)]
    (outlier,) = await found(stage(store, metrics), log)
    assert (outlier["partition"], outlier["offset"], outlier["ts"], outlier["reference"]) == (2, 1, BEGIN + 1, version)
    assert [(one["name"], one["value"]) for one in outlier["features"]] == [("fixed", 2), ("x", 40.0)]
    assert outlier["features"][1]["distance"] > 6.0
    assert outliers_counted(metrics) == 1


async def test_the_same_event_has_the_same_id_in_every_run(store: Counting, metrics: Metrics) -> None:
    """Read again after a crash, the outlier event is the same to the byte."""
    References(store).publish(learned())
    runs = [await found(stage(store, metrics), [event(0, 99.0), event(1, -99.0)]) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({one["id"] for one in runs[0]}) == 2


async def test_at_most_so_many_outliers_are_told_in_a_window(store: Counting, metrics: Metrics) -> None:
    """Beyond the limit outliers are counted and not written; the next window has a limit of its own."""
    References(store).publish(learned())
    told = await found(stage(store, metrics), [event(number, 50.0) for number in range(100)])
    assert [one["offset"] for one in told] == [0, 1, 2, 60, 61, 62]
    assert outliers_counted(metrics) == 100


async def test_events_before_a_reference_are_not_scored(store: Counting, metrics: Metrics) -> None:
    """Without a reference nothing is told; once one is published it is found within two seconds."""
    clock = Clock()
    scoring = stage(store, metrics, clock)
    assert await found(scoring, [event(0, 99.0)]) == []
    References(store).publish(learned())
    clock.now = 1.9
    assert await found(scoring, [event(1, 99.0)], 1) == []
    clock.now = 2.0
    assert [one["offset"] for one in await found(scoring, [event(2, 99.0)], 2)] == [2]
    assert store.looks - 1 == 2  # and one by publishing


async def test_a_new_reference_replaces_the_old_one(store: Counting, metrics: Metrics) -> None:
    """After a re-baseline the new version decides, and outlier events name it."""
    clock = Clock()
    references, scoring = References(store), stage(store, metrics, clock)
    old = references.publish(learned())
    assert [one["reference"] for one in await found(scoring, [event(0, 100.0)])] == [old]
    new = references.publish(learned(center=100.0, at=5.0))
    clock.now = 2.0
    assert [(one["offset"], one["reference"]) for one in await found(scoring, [event(1, 100.0), event(2, 0.0)], 1)] == [(2, new)]


async def test_segments_have_references_of_their_own(store: Counting, metrics: Metrics) -> None:
    """What is far outside in one segment is normal in another, and a segment without a reference is not scored."""
    references = References(store)
    references.publish(learned(segment="eu"))
    references.publish(learned(segment="us", center=100.0))
    log = [event(number, 100.0, segment=segment) for number, segment in enumerate(("eu", "us", "asia", ""))]
    assert [(one["segment"], one["offset"]) for one in await found(stage(store, metrics), log)] == [("eu", 0)]


async def test_labels_ticks_and_models_without_outliers_are_passed_over(store: Counting, metrics: Metrics) -> None:
    """Only predictions and features of models that want it are scored; dead letters are the business of another stage."""
    References(store).publish(learned())
    References(store).publish(learned("off"))
    log = [
        event(0, 99.0, "off"),
        {"model": "m", "id": "1", "type": "label", "label": 99.0, "features": {"x": 99.0}},
        b"garbage",
        event(3, 99.0, "stranger"),
        event(4, 99.0, prediction=True),
    ]
    assert [one["offset"] for one in await found(stage(store, metrics), log)] == [4]


async def test_an_altered_reference_stops_the_scoring_of_its_model_alone(
    store: Counting, metrics: Metrics, redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """A reference that cannot be trusted is not used, the log says so once, and all events go on."""
    raw: Any = redis.Redis.from_url(redis_settings.url)
    clock = Clock()
    references, scoring = References(store), stage(store, metrics, clock)
    version = references.publish(learned())
    references.publish(learned("other"))
    key = f"{redis_settings.prefix}:blob:reference/m//{version}"
    raw.set(key, raw.get(key) + b"!")
    caplog.set_level(logging.ERROR, "driftline.worker")
    for turn in range(3):
        clock.now = 3.0 * turn
        told = await found(scoring, [event(2 * turn, 99.0), event(2 * turn + 1, 99.0, "other")], 2 * turn)
        assert [one["model"] for one in told] == ["other"]
    assert len(caplog.records) == 1
    assert "outliers of m are not scored" in caplog.text


async def test_a_reference_of_another_make_is_refused(store: Counting) -> None:
    """A signed reference that this version cannot read is an error that says what to do."""
    store.put_blob("reference/m//made-up", b"\xc1")
    store.move_pointer("reference/m/", 0, {"version": "made-up"})
    with pytest.raises(StateError, match=r"reference/m//made-up cannot be read .* delete it and restart"):
        References(store).current("m", "", None)


async def test_a_flood_of_segments_asks_redis_no_more_than_it_may(store: Counting, metrics: Metrics) -> None:
    """Senders that put ids into the segment cost a bounded number of questions a fetch, and known segments stay scored."""
    clock = Clock()
    References(store).publish(learned(segment="zz"))
    scoring = stage(store, metrics, clock)
    await found(scoring, [event(0, 0.5, segment="zz")])
    store.looks = 0
    clock.now = 10.0
    log = [event(1 + number, 99.0, segment=f"s{number}") for number in range(1000)]
    told = await found(scoring, [*log, event(1001, 99.0, segment="zz")], 1)
    assert [one["offset"] for one in told] == [1001]
    assert store.looks == 200
    clock.now = 20.0
    await found(scoring, [event(1002, 0.5, segment="zz")], 1002)
    assert len(scoring._looked) == 1


async def test_publishing_again_changes_nothing(store: Counting) -> None:
    """The same reference has the same version, whatever its time, and moves no pointer."""
    references = References(store)
    assert references.publish(learned()) == references.publish(learned(at=99.0))
    assert store.pointer("reference/m/")["generation"] == "1"
    version, reference = references.current("m", "", None) or ("", learned(center=9.0))
    assert references.current("m", "", version) is None
    assert references.current("m", "nowhere", None) is None
    np.testing.assert_array_equal(reference.features["x"].quantiles, learned().features["x"].quantiles)
    assert reference.features["colour"].known.keys() == {"red", "blue"}


async def test_a_reference_that_was_deleted_is_published_again(store: Counting, redis_settings: RedisSettings) -> None:
    """Deleting what cannot be read is the way out: the judge publishes it again when it starts, under the same version."""
    raw: Any = redis.Redis.from_url(redis_settings.url)
    references = References(store)
    version = references.publish(learned())
    raw.delete(f"{redis_settings.prefix}:blob:reference/m//{version}")
    assert references.current("m", "", None) is None
    assert references.publish(learned()) == version
    assert references.current("m", "", None) is not None


async def test_the_offset_moves_with_every_fetch(store: Counting, metrics: Metrics) -> None:
    """Nothing is stored, so what was read may be committed, outliers or not."""
    scoring = stage(store, metrics, start=0)
    position = await feed(scoring, log_of([event(0), event(1)], partition=2), [1])
    checkpoint = scoring.checkpoint(position, final=False)
    assert checkpoint is not None
    assert (checkpoint.outgoing, checkpoint.durable, checkpoint.complete) == ([], 2, None)
    assert scoring.checkpoint(position, final=True) is None
    assert len(scoring.outbox) == 0
