"""librdkafka's mock cluster in a process of its own: a broker that needs nothing but confluent-kafka.

Good for the demo and for quick tests, not for data. What it cannot do:

- Four partitions in every topic; other counts cannot be asked for.
- No request to create topics: a topic appears when its metadata is first asked for.
- About 5 MB per partition; beyond that the oldest messages vanish without a word. A producer that
  may run ahead of its readers must pace itself by their lag.
- One consumer in a group; a second one does not share the partitions.
- Everything is in memory and gone with the process; there is no authentication.

`python -m driftline.servers.mock_broker --addr-file FILE` runs one until SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from confluent_kafka import Producer

from driftline.servers.child import Child, serve_until_signal
from driftline.servers.server import PrivateServer

__all__ = ["PARTITIONS", "PARTITION_BYTES", "MockBroker"]

PARTITIONS = 4
PARTITION_BYTES = 5 << 20


class MockBroker(PrivateServer):
    """The mock cluster as a private child; `bootstrap` is its address once started."""

    def __init__(self, directory: Path | None = None) -> None:
        """Take a directory for the log and the address, a temporary one by default."""
        super().__init__(directory, "broker")
        self._address = self.directory / "address"
        self.bootstrap = ""
        self.child = Child(
            [sys.executable, "-m", "driftline.servers.mock_broker", "--addr-file", str(self._address)],
            log=self.directory / "log",
            name="the embedded broker",
        )

    def start(self, timeout_seconds: float = 60.0) -> Self:
        """Start it and return once it listens; a broker started again is empty and has another address.

        Raises:
            UnavailableError: it did not start.
        """
        self._address.unlink(missing_ok=True)
        self.child.start()
        self.bootstrap = self.child.until(self._listening, timeout_seconds=timeout_seconds)
        return self

    def _listening(self) -> str | None:
        return self._address.read_text(encoding="ascii") if self._address.exists() else None

    def declare(self, topics: Iterable[str]) -> None:
        """Make topics appear, in place of creating them."""
        client = Producer({"bootstrap.servers": self.bootstrap, "log_level": 2})
        for topic in topics:
            client.list_topics(topic, timeout=10)


def main() -> None:
    """Run a mock cluster in this process until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m driftline.servers.mock_broker", description="Run an in-memory Kafka broker.")
    parser.add_argument("--addr-file", type=Path, help="write host:port here once it listens")
    arguments = parser.parse_args()
    cluster = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 2})  # the cluster lives in it
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    serve_until_signal(f"{broker.host}:{broker.port}", arguments.addr_file, lambda: True)


if __name__ == "__main__":
    main()
