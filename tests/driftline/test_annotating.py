"""Annotations of a real worker: what Grafana took, what it refused and what did not fit into the queue is on /metrics."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streams.kafka import Outgoing
from streams.records import cloudevents
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import ALERTS, topic_name
from tests.support.deployment import ShopDeployment, until

#: More than the queue of a worker holds.
MANY = 1_200


class AnnotationReceiver(ThreadingHTTPServer):
    """A Grafana that knows no annotation yet, and takes, refuses or holds what comes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _GrafanaAnswer)
        self.status = 200
        #: While it is clear, nobody gets an answer.
        self.answers = threading.Event()
        self.answers.set()


class _GrafanaAnswer(BaseHTTPRequestHandler):
    server: AnnotationReceiver

    def do_GET(self) -> None:
        """Answer that there is no annotation with these tags."""
        self._answer(b"[]")

    def do_POST(self) -> None:
        """Take an annotation."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b'{"id": 1, "message": "Annotation added"}')

    def _answer(self, body: bytes) -> None:
        self.server.answers.wait()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnnotationReceiver]:
    """A Grafana on the loopback, reached without any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = AnnotationReceiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.answers.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def deployment(
    kafka_settings: KafkaSettings, redis_settings: RedisSettings, signing_key: Secret, tmp_path: Path, grafana: AnnotationReceiver
) -> Iterator[ShopDeployment]:
    """A deployment whose workers annotate that Grafana."""
    made = ShopDeployment(tmp_path, kafka_settings, redis_settings, signing_key)
    token = tmp_path / "token"
    token.write_text("a token of this test")
    with made.config.open("a") as config:
        config.write(f'\n[grafana]\nurl = "http://127.0.0.1:{grafana.server_port}"\ntoken_file = "{token}"\n')
    yield made
    made.stop()


def alerts(prefix: str, first: int, count: int) -> list[Outgoing]:
    """Return the alerts of incidents, each opened and not resolved."""
    topic = topic_name(prefix, ALERTS)
    return [Outgoing(topic, b"shop", _alert(f"incident-{number:016x}")) for number in range(first, first + count)]


def _alert(incident: str) -> bytes:
    data = {
        "model": "shop",
        "incident": incident,
        "level": "drift",
        "severity": "warning",
        "status": "opened",
        "summary": "x: mean up",
        "began_at": 1_700_000_040.0,
        "raised_at": 1_700_000_100.0,
    }
    return cloudevents.encode(cloudevents.ALERT, f"alert-{incident}", "shop", 1_700_000_100.0, data)


def test_a_worker_counts_what_becomes_of_its_annotations(deployment: ShopDeployment, grafana: AnnotationReceiver) -> None:
    """A worker's /metrics counts an annotation that Grafana took, one that it refused, and those that its full queue dropped."""
    _, address = deployment.ready("worker")

    def counted(result: str) -> float:
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        sample = f'driftline_annotations_total{{result="{result}"}} '
        return sum(float(line.removeprefix(sample)) for line in lines if line.startswith(sample))

    deployment.send(alerts(deployment.kafka.prefix, 0, 1))
    until(lambda: counted("ok") == 1 or None, what="an annotation that Grafana takes")
    grafana.status = 500
    deployment.send(alerts(deployment.kafka.prefix, 1, 1))
    until(lambda: counted("failed") == 1 or None, what="an annotation that Grafana refuses")
    assert counted("dropped") == 0
    grafana.answers.clear()
    deployment.send(alerts(deployment.kafka.prefix, 2, MANY))
    until(lambda: counted("dropped") or None, what="an annotation for which there is no room")
    grafana.status = 200
    grafana.answers.set()
    until(lambda: sum(map(counted, ("ok", "failed", "dropped"))) == MANY + 2 or None, what="the rest")
    assert counted("ok") > 1
