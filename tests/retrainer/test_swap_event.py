"""Decisions and swap events: what an earlier version recorded is read, and its bytes stay."""

from __future__ import annotations

import doctest
from collections.abc import Iterator

import msgspec
import orjson
import pytest

import retrainer.request
from detectors.incidents.retrain import Request
from retrainer.request import parse
from retrainer.swap import Swaps
from serving.registry.versions import Registry
from streams.kafka import Sender
from streams.records.cloudevents import RETRAIN, encode, event_of
from streams.records.swap_event import CandidateScores, Lineage, SwapEvent, cloud_event
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.state.store import Store
from tests.support.paths import DATA

#: Records as Driftline 0.1.0 left them in Redis, and the events that it wrote for them: promoted, rejected, abandoned.
RECORDS = (DATA / "swaps" / "records.jsonl").read_bytes().splitlines()
EVENTS = (DATA / "swaps" / "events.jsonl").read_bytes().splitlines()

ASKED = Request(id="retrain-1", model="m", reason="drift", alert="alert-1", began_at=60.0, requested_at=90.0, features=["x"])


@pytest.fixture
def store(redis_settings: RedisSettings, signing_key: Secret) -> Store:
    """A Redis with nothing in it."""
    return Store(redis_settings, signing_key)


@pytest.fixture
def swaps(store: Store) -> Iterator[Swaps]:
    """What records decisions there; nothing is sent to a broker."""
    sender = Sender(KafkaSettings(bootstrap="127.0.0.1:1"), "test")
    yield Swaps(KafkaSettings(), store, Registry(store), sender)
    sender.close(0.0)


@pytest.mark.redis
@pytest.mark.parametrize(("record", "event"), list(zip(RECORDS, EVENTS, strict=True)), ids=["promoted", "rejected", "abandoned"])
def test_a_decision_of_an_earlier_version_is_announced_with_the_same_bytes(
    store: Store, swaps: Swaps, record: bytes, event: bytes
) -> None:
    """A record that 0.1.0 left behind is read, and its event has the bytes that 0.1.0 would have sent."""
    store.put_blob("decision/retrain-1/1", record)
    (swap,) = swaps.recorded(ASKED)
    assert swap.repeated
    assert cloud_event(swap.event, "swap-1", 90.0) == event
    again = {"data": msgspec.to_builtins(swap.event), "expected_generation": swap.expected_generation}
    assert orjson.dumps(again) == record


@pytest.mark.redis
def test_a_record_without_the_time_of_its_request_is_read_and_stays_without_it(store: Store, swaps: Swaps) -> None:
    """The first records had no `requested_at`: their events have none either."""
    record = orjson.loads(RECORDS[0])
    del record["data"]["requested_at"]
    store.put_blob("decision/retrain-1/1", orjson.dumps(record))
    (swap,) = swaps.recorded(ASKED)
    assert swap.event.requested_at is msgspec.UNSET
    assert orjson.loads(cloud_event(swap.event, "swap-1", 90.0))["data"] == record["data"]


def test_the_event_of_a_swap_reads_back_as_it_was() -> None:
    """A reader of the topic gets the fields that were written, `decision` as the result."""
    event = msgspec.convert(orjson.loads(EVENTS[0])["data"], SwapEvent)
    assert (event.result, event.version, event.requested_at) == ("promoted", 8, 90.0)
    assert event.candidate == CandidateScores("warm", accuracy=1.0, loss=0.0)
    assert event.lineage == Lineage("t.outcomes", {"0": [0, 40], "1": [3, 9]})


def test_the_request_of_the_judge_reads_back_as_it_was() -> None:
    """What the judge writes to the retrains topic is what the retrainer works on, each field of it."""
    asked = msgspec.structs.replace(ASKED, segment="eu", incidents=["incident-1", "incident-2"])
    assert parse(event_of(asked)) == asked


def test_a_request_by_hand_has_no_alert_and_no_incidents() -> None:
    """The alert may be null or absent, and the id is that of the CloudEvent, whatever the data say."""
    data = {"id": "other", "model": "m", "reason": "on_demand", "began_at": 0.0, "requested_at": 5.0}
    for given in (data, data | {"alert": None}):
        asked = parse(encode(RETRAIN, "by-hand-1", "m", 5.0, given))
        assert asked == Request(id="by-hand-1", model="m", reason="on_demand", began_at=0.0, requested_at=5.0)
        assert (asked.alert, asked.incidents, asked.features, asked.segment) == (None, [], [], "")


def test_the_example_in_the_docstring_holds() -> None:
    """The example of `retrainer.request` gives what it shows."""
    found = doctest.testmod(retrainer.request)
    assert found.attempted > 0
    assert found.failed == 0
