"""The application of the example: asks for a prediction each half hour, learns the truth a day later.

It knows two addresses, the HTTP service and Kafka, and nothing else of Driftline. Predictions go
through HTTP; labels go straight to Kafka, as any client can send them. It tells how it is doing as one
JSON object a line.

    python application.py --url http://127.0.0.1:8080 --kafka 127.0.0.1:9092 --answers answers.csv
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import aiohttp
from confluent_kafka import Consumer, Producer, TopicPartition
from rows import HALF_HOUR, LABEL_DELAY, MarketRow, read_rows

MODEL = "electricity"
#: Requests under way at once.
CONNECTIONS = 8
#: Rows ahead of Driftline at most: the demo's in-memory broker forgets what is too old.
MOST_AHEAD = 8000
#: Rows sent between two looks at the lag.
PORTION = 500
TELL_SECONDS = 0.2


@dataclass
class Counts:
    """What happened so far; answers are (row, version, predicted, truth)."""

    sent: int = 0
    failed: int = 0
    version: str = ""
    answers: list[tuple[int, str, bool | None, bool]] = field(default_factory=list)
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=1000))
    error: str = ""

    def line(self) -> str:
        """Return the line that tells it."""
        accuracy = sum(self.recent) / len(self.recent) if self.recent else None
        return json.dumps(
            {"sent": self.sent, "failed": self.failed, "version": self.version, "accuracy": accuracy, "error": self.error}
        )


class Labels:
    """Sends the truth about a prediction to Kafka, with the prediction's id as its key."""

    def __init__(self, kafka: str, prefix: str) -> None:
        # Java's partitioner, so that a label lands where its prediction is.
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "linger.ms": 20})
        self._topic = f"{prefix}.events"

    def send(self, row: MarketRow, known_at: float) -> None:
        """Send one label; `known_at` is event time in epoch seconds."""
        label = {"type": "label", "id": row_id(row), "model": MODEL, "ts": known_at, "label": row.up}
        self._producer.produce(self._topic, key=row_id(row), value=json.dumps(label))
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until all labels have arrived."""
        self._producer.flush(10)


class Pace:
    """Waits while Driftline has too much before it."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._topic = f"{prefix}.events"
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"{prefix}.worker"})

    def lag(self) -> int:
        """Return how many events the worker has not made durable yet."""
        partitions = self._consumer.list_topics(self._topic, timeout=10).topics[self._topic].partitions
        committed = self._consumer.committed([TopicPartition(self._topic, number) for number in partitions], timeout=10)
        ends = {tp.partition: self._consumer.get_watermark_offsets(tp, timeout=10)[1] for tp in committed}
        return sum(ends[tp.partition] - max(0, tp.offset) for tp in committed)

    async def keep(self) -> None:
        """Return once the lag is small enough."""
        while await asyncio.to_thread(self.lag) > MOST_AHEAD:  # noqa: ASYNC110 - the worker is elsewhere and sets no event
            await asyncio.sleep(0.05)


def row_id(row: MarketRow) -> str:
    """Return the id by which prediction and label are joined."""
    return f"half-hour-{row.number}"


@dataclass
class Application:
    """The application at work: rows in, requests and labels out."""

    session: aiohttp.ClientSession
    url: str
    labels: Labels
    tally: Counts = field(default_factory=Counts)
    told: float = 0.0

    async def ask(self, row: MarketRow) -> None:
        """Ask for one prediction."""
        body = {"id": row_id(row), "ts": row.ts, "features": row.features}
        try:
            async with self.session.post(self.url, json=body) as response:
                answer = await response.json()
                status = response.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            status, answer = 0, f"{type(error).__name__}: {error}"
        self.tally.sent += 1
        if status != 200:
            self.tally.failed += 1
            self.tally.error = f"{status}: {answer}"[:200]
            return
        predicted = answer["prediction"]["label"]
        self.tally.version = answer["version"]
        self.tally.answers.append((row.number, answer["version"], predicted, row.up))
        self.tally.recent.append(predicted == row.up)

    async def work(self, rows: Iterator[MarketRow]) -> None:
        """Take row after row; several of these run side by side on the same rows."""
        for row in rows:
            await self.ask(row)
            self.labels.send(row, row.ts + LABEL_DELAY * HALF_HOUR)

    async def send(self, rows: list[MarketRow]) -> None:
        """Send some rows, a few at once, telling now and then how it goes."""
        shared = iter(rows)
        workers = {asyncio.create_task(self.work(shared)) for _ in range(CONNECTIONS)}
        while workers:
            _, workers = await asyncio.wait(workers, timeout=TELL_SECONDS)
            if time.monotonic() - self.told >= TELL_SECONDS:
                self.told = time.monotonic()
                print(self.tally.line(), flush=True)


async def run(arguments: argparse.Namespace) -> Counts:
    """Send all rows, in portions, and return what happened."""
    labels, pace = Labels(arguments.kafka, arguments.prefix), Pace(arguments.kafka, arguments.prefix)
    url = f"{arguments.url}/v1/models/{MODEL}:predict"
    rows = read_rows(arguments.rows)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        application = Application(session, url, labels)
        while portion := list(islice(rows, PORTION)):
            await pace.keep()
            await application.send(portion)
    labels.close()
    return application.tally


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="The application of the electricity example.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="HTTP service")
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="Kafka bootstrap servers")
    parser.add_argument("--prefix", default="driftline", help="first part of the topic names")
    parser.add_argument("--rows", type=int, default=0, help="send so many rows, 0 for all")
    parser.add_argument("--answers", default="answers.csv", help="where the answers are written at the end")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tally = asyncio.run(run(arguments))
    except KeyboardInterrupt:
        return 130
    with Path(arguments.answers).open("w", newline="") as file:
        csv.writer(file).writerows(sorted(tally.answers))
    print(tally.line(), flush=True)
    return 0 if tally.failed == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
