"""A worker whose neighbours go away while it starts says so in one line, and with the status that asks for another start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.kafka import create_topics
from streams.settings import KafkaSettings, RedisSettings, Secret
from tests.support.deployment import ShopDeployment
from tests.support.paths import ROOT

# The sinks are looked at after Kafka was asked for its topics, and before Faust connects to it.
_WORKER = """
import os, signal, sys
from pathlib import Path
from detectors.errors import DriftlineError
from driftline.config.load import load_settings
from streams.metrics import Metrics
from streams.worker.app import run_worker

class Sinks:
    def __iter__(self):
        os.kill(int(sys.argv[2]), signal.SIGKILL)
        return iter(())

try:
    settings = load_settings(Path(sys.argv[1]), dict(os.environ), need_key=True)
    sys.exit(run_worker(settings, metrics=Metrics(), sinks=Sinks()))
except DriftlineError as error:
    sys.exit(f"{error.exit_code}: {error}")
"""


def test_a_broker_that_goes_away_as_a_worker_starts_is_named(
    own_kafka: KafkaServer, redis_server: RedisServer, prefix: str, signing_key: Secret, tmp_path: Path
) -> None:
    """Between the first answer of Kafka and the next one it may have gone: that is exit status 3, as if it had not been there."""
    kafka = KafkaSettings(bootstrap=own_kafka.bootstrap, prefix=prefix)
    create_topics(kafka)
    deployment = ShopDeployment(tmp_path, kafka, RedisSettings(url=redis_server.url, prefix=prefix), signing_key)
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(deployment.config), str(own_kafka.child.pid)],
        env={"DRIFTLINE_SIGNING_KEY": signing_key.reveal().decode(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"3: Kafka at {own_kafka.bootstrap} went away while the worker was starting: start it, then the worker again"
    ), done.stderr[-3000:]
