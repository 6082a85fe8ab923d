"""The notify stage against a real HTTP receiver: every alert arrives, signed, once or again, and no secret is told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from aiohttp import web

from detectors.errors import UnavailableError
from streams.engine.checkpoint import Checkpoint
from streams.metrics import Metrics
from streams.records import cloudevents
from streams.records.dead_letters import REASON
from streams.settings import KafkaSettings, Secret, WebhookSettings
from streams.stages.notify import Notify
from streams.stages.webhook import Webhook
from tests.support.records import batch_of, feed, log_of
from tests.support.wired import wired

KAFKA = KafkaSettings(prefix="t")
SECRET = b"a secret that must stay one"


class Receiver:
    """An HTTP server that answers with the given statuses in turn, then 200, and keeps what it got."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.hangs = 0
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen, on a port of the system's choice or a given one."""
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        if self.hangs:
            self.hangs -= 1
            await asyncio.sleep(30)
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"location": "/hook"} if 300 <= status < 400 else None)

    @property
    def ids(self) -> list[str]:
        """Return the ids of what came, in order."""
        return [headers["driftline-event-id"] for headers, _ in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of the test's own."""
    return Metrics()


def webhook(receiver: Receiver, metrics: Metrics, timeout_seconds: float = 5.0) -> Webhook:
    """Return the sink that posts to the receiver."""
    return Webhook(WebhookSettings(f"http://127.0.0.1:{receiver.port}/hook", Secret(SECRET), timeout_seconds), metrics)


def alert(number: int, kind: str = cloudevents.ALERT) -> bytes:
    """Return an alert event."""
    return cloudevents.encode(kind, f"alert-{number:016x}", "m", 1000.0 + number, {"summary": f"größer {number}"})


async def tell(sinks: Sequence[Any], values: Sequence[bytes]) -> Checkpoint:
    """Feed events and flush: return once every sink took them."""
    stage = Notify(wired({}, sinks=tuple(sinks)), start=0)
    position = await feed(stage, log_of(values, topic="t.alerts"))
    checkpoint = stage.checkpoint(position, final=False)
    assert checkpoint is not None
    assert checkpoint.durable == len(values)
    assert checkpoint.complete is not None
    await asyncio.wait_for(checkpoint.complete(), 30)
    return checkpoint


def counted(metrics: Metrics, result: str) -> float:
    """Return how many deliveries came to that."""
    return metrics.registry.get_sample_value("driftline_webhook_deliveries_total", {"result": result}) or 0.0


async def test_an_alert_is_posted_with_a_signature_that_verifies(receiver: Receiver, metrics: Metrics) -> None:
    """The receiver, knowing the secret, computes the same code over time and body; the body is the event unchanged."""
    before = int(time.time())
    await tell([webhook(receiver, metrics)], [alert(1)])
    ((headers, body),) = receiver.got
    stamp, code = (part.partition("=")[2] for part in headers["driftline-signature"].split(","))
    assert code == hmac.new(SECRET, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert before <= int(stamp) <= time.time()
    assert body == alert(1)
    assert headers["driftline-event-id"] == orjson.loads(body)["id"] == "alert-0000000000000001"
    assert headers["content-type"] == "application/cloudevents+json"
    assert counted(metrics, "ok") == 1


async def test_people_hear_of_alerts_only(receiver: Receiver, metrics: Metrics) -> None:
    """A swap is no page: it goes to the other sinks, not to the webhook."""
    await tell([webhook(receiver, metrics)], [alert(1, cloudevents.SWAP), alert(2)])
    assert receiver.ids == ["alert-0000000000000002"]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_receiver_in_trouble_gets_the_alert_again(receiver: Receiver, metrics: Metrics, status: int) -> None:
    """While the receiver answers 5xx or 429 the same event comes again with the same id, and later ones wait their turn."""
    receiver.statuses = [status, status]
    await tell([webhook(receiver, metrics)], [alert(1), alert(2)])
    assert receiver.ids == ["alert-0000000000000001"] * 3 + ["alert-0000000000000002"]
    assert len({body for _, body in receiver.got}) == 2
    assert (counted(metrics, "failed"), counted(metrics, "ok")) == (2, 2)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302, 308])
async def test_a_refusal_is_taken_for_an_answer(
    receiver: Receiver, metrics: Metrics, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A receiver that refuses, or points elsewhere, is asked once an event; the log says what to mend, once, not per alert."""
    receiver.statuses = [status, status]
    await tell([webhook(receiver, metrics)], [alert(1), alert(2), alert(3)])
    assert receiver.ids == [f"alert-{number:016x}" for number in (1, 2, 3)]
    assert (counted(metrics, "failed"), counted(metrics, "ok")) == (2, 1)
    assert [record.getMessage() for record in caplog.records if record.name == "driftline.notify"] == [
        f"webhook refused alert alert-0000000000000001 with status {status}: mend [webhook] url or its receiver"
    ]


async def test_a_receiver_that_is_away_is_waited_for(receiver: Receiver, metrics: Metrics) -> None:
    """An alert raised while nobody listens arrives once somebody does."""
    port = receiver.port
    await receiver.stop()
    telling = asyncio.create_task(tell([webhook(receiver, metrics)], [alert(1)]))
    deadline = time.monotonic() + 10
    while not counted(metrics, "failed"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await receiver.start(port)
    await telling
    assert receiver.ids == ["alert-0000000000000001"]


async def test_a_receiver_that_hangs_is_given_up_in_time(receiver: Receiver, metrics: Metrics) -> None:
    """After the timeout of the settings the alert is sent again rather than waited for."""
    receiver.hangs = 1
    await tell([webhook(receiver, metrics, timeout_seconds=0.2)], [alert(1)])
    assert receiver.ids == ["alert-0000000000000001"] * 2


class Diary:
    """Another sink, which writes down what it is told, after some refusals."""

    def __init__(self, refusals: int = 0) -> None:
        self.told: list[str] = []
        self.refusals = refusals

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """Write down the id."""
        assert orjson.loads(value) == event
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError("later")
        self.told.append(event["id"])


async def test_an_event_counts_when_every_sink_took_it(receiver: Receiver, metrics: Metrics) -> None:
    """Each sink hears of each event in order, and one that could not take it at first holds the offset, not the others' copy."""
    diary, late = Diary(), Diary(refusals=1)
    await tell([diary, webhook(receiver, metrics), late], [alert(1), alert(2, cloudevents.SWAP)])
    assert diary.told == late.told == ["alert-0000000000000001", "alert-0000000000000002"]
    assert receiver.ids == ["alert-0000000000000001"]


async def test_after_a_crash_the_same_ids_come_again(receiver: Receiver, metrics: Metrics) -> None:
    """A worker that dies between telling and committing repeats itself, recognisably."""
    for _ in range(2):
        await tell([webhook(receiver, metrics)], [alert(1), alert(2)])
    assert receiver.ids[:2] == receiver.ids[2:]
    assert receiver.got[0][1] == receiver.got[2][1]


async def test_garbage_is_put_aside(receiver: Receiver, metrics: Metrics) -> None:
    """What is no alert or swap, or has an id that no header could carry, goes to the dead letters and stops no alert."""
    garbage = [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b'{"type":5,"id":"a","data":{}}',
        b'{"type":"io.driftline.other.v1","id":"a","data":{}}',
        cloudevents.encode(cloudevents.ALERT, "", "m", 1.0, {}),
        cloudevents.encode(cloudevents.ALERT, "x\r\nhost: evil", "m", 1.0, {}),
        cloudevents.encode(cloudevents.ALERT, "größer", "m", 1.0, {}),
        cloudevents.encode(cloudevents.ALERT, "x" * 257, "m", 1.0, {}),
        orjson.dumps({"type": cloudevents.ALERT, "id": "a", "data": None}),
        orjson.dumps({"type": cloudevents.ALERT, "id": 5, "data": {}}),
    ]
    checkpoint = await tell([webhook(receiver, metrics)], [*garbage, alert(1)])
    assert [letter.value for letter in checkpoint.outgoing] == garbage
    assert {dict(letter.headers)[REASON] for letter in checkpoint.outgoing} == {b"not_json", b"wrong_type"}
    assert receiver.ids == ["alert-0000000000000001"]


async def test_nothing_new_is_nothing_to_tell() -> None:
    """A stage that has read nothing since its last cut has nothing to flush."""
    stage = Notify(wired({}), start=5)
    assert stage.checkpoint(5, final=True) is None
    await stage.feed(batch_of(log_of([alert(1)], topic="t.alerts", first=5)), 5)
    assert len(stage.outbox) == 1
    assert stage.checkpoint(6, final=False) is not None
    assert stage.checkpoint(6, final=True) is None
    assert len(stage.outbox) == 0


async def test_the_secret_is_never_told(receiver: Receiver, metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log at any level nor an error or a repr shows the secret, whatever the receiver does."""
    caplog.set_level(logging.DEBUG)
    receiver.statuses = [500, 403]
    sink = webhook(receiver, metrics)
    await tell([sink], [alert(1), alert(2)])
    await receiver.stop()
    with pytest.raises(UnavailableError) as caught:
        await sink.deliver(orjson.loads(alert(3)), alert(3))
    shown = caplog.text + str(caught.value) + repr(caught.value) + repr(vars(sink))
    assert SECRET.decode() not in shown
    assert SECRET.hex() not in shown
    assert str(receiver.port) not in str(caught.value)
