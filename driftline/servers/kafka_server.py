"""A real Apache Kafka on 127.0.0.1: one node in KRaft mode, from jars that Maven fetches once.

The node keeps its port and its data while the object lives, so `kill` and `start` are a crash and a
restart. `python -m driftline.servers.kafka_server --addr-file FILE` runs one until SIGTERM.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import socket
import struct
import subprocess
import uuid
from pathlib import Path
from typing import Self

from detectors.errors import UnavailableError
from driftline.servers.child import Child, serve_until_signal
from driftline.servers.kafka_jars import kafka_jars
from driftline.servers.ports import free_port
from driftline.servers.server import PrivateServer

__all__ = ["KafkaServer"]

_JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_FORMAT_TIMEOUT_SECONDS = 60
#: Room for the largest message of streams/topics.py and its headers.
_MESSAGE_BYTES = 5 << 20


class KafkaServer(PrivateServer):
    """One Kafka node; `bootstrap` is its address, the same after every restart."""

    def __init__(self, directory: Path | None = None) -> None:
        """Choose the ports and the data directory (a temporary one by default); nothing is started.

        Raises:
            UnavailableError: Java or Maven is missing, or the jars cannot be fetched.
        """
        java = shutil.which("java")
        if java is None:
            raise UnavailableError("a real Kafka needs Java 17 or later: no java on PATH; install a JRE")
        self._java = [java, *_JVM, _QUIET, "-cp", f"{kafka_jars()}/*"]
        super().__init__(directory, "kafka")
        self.port = free_port()
        self._controller_port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._properties = self.directory / "server.properties"
        self.child = Child(
            [*self._java, "kafka.Kafka", str(self._properties)], log=self.directory / "log", name=f"Kafka on {self.bootstrap}"
        )

    def start(self, timeout_seconds: float = 60.0) -> Self:
        """Start the node and return once it answers; after `kill` with the data it had.

        Raises:
            UnavailableError: it did not start; the end of its log is in the message.
        """
        text = "".join(f"{name}={value}\n" for name, value in self._settings().items())
        self._properties.write_text(text, encoding="utf-8")
        if not (self.directory / "data" / "meta.properties").exists():
            self._format()
        self.child.start()
        self.child.until(self._answers, timeout_seconds=timeout_seconds)
        return self

    def _settings(self) -> dict[str, str | int]:
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "log.dirs": str(self.directory / "data"),
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "auto.create.topics.enable": "false",
            "message.max.bytes": _MESSAGE_BYTES,
            "replica.fetch.max.bytes": _MESSAGE_BYTES,
            # one node has everything, in few partitions
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            # groups form at once, short sessions are allowed, a restart is noticed in seconds
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # a small machine
            "num.io.threads": 4,
            "num.network.threads": 2,
            "log.cleaner.dedupe.buffer.size": 8 << 20,
        }

    def _format(self) -> None:
        # KRaft wants 22 characters of base64 that do not begin with "-", which a command line would misread
        cluster = base64.urlsafe_b64encode(b"k" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        command = [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_SECONDS, check=False)  # noqa: S603 - fixed arguments
        if done.returncode:
            raise UnavailableError(f"Kafka could not format {self.directory}:\n{(done.stdout + done.stderr)[-2000:]}")

    def _answers(self) -> bool | None:
        """Ask for metadata (version 1, no topics) and look for a live broker in the answer."""
        body = struct.pack(">hhih5si", 3, 1, 1, 5, b"ready", 0)
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.settimeout(2.0)
                connection.sendall(struct.pack(">i", len(body)) + body)
                with connection.makefile("rb") as answer:
                    length_correlation_brokers = struct.unpack(">iii", answer.read(12))
        except (OSError, struct.error):
            return None
        return length_correlation_brokers[2] > 0 or None


def main() -> None:
    """Run one node until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m driftline.servers.kafka_server", description="Run a private Apache Kafka.")
    parser.add_argument("--addr-file", type=Path, help="write host:port here once it answers")
    parser.add_argument("--directory", type=Path, help="keep the data here instead of a temporary directory")
    arguments = parser.parse_args()
    with KafkaServer(arguments.directory) as server:
        serve_until_signal(server.bootstrap, arguments.addr_file, lambda: server.child.running)


if __name__ == "__main__":
    main()
