"""The producer: idempotent, acks=all, with Java's partitioner: keys go to the same partitions as from Faust and Java."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from confluent_kafka import KafkaError, Message, Producer

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET, Outgoing
from streams.settings import KafkaSettings

_MAX_MESSAGE_BYTES = 4 << 20
_BY_KEY = -1
#: Flushes that wait for acknowledgements at once.
_MOST_WAITING = 32


class Sender:
    """A producer with a bounded queue, which reports each message that is lost."""

    def __init__(
        self,
        settings: KafkaSettings,
        client: str,
        *,
        queue_bytes: int = 64 << 20,
        linger_ms: int = 5,
        give_up_seconds: float = 0.0,
    ) -> None:
        """Connect lazily; `client` names the process in the broker's logs.

        Without `give_up_seconds` a queued message is tried until it is delivered. Readers rely on that: they drop a
        message that is not newer than the last as a repeat, so no message may be given up while a later one of its
        partition is delivered.
        """
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": client,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": "lz4",
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": queue_bytes >> 10,
                "delivery.timeout.ms": int(give_up_seconds * 1000),  # 0: never
                **QUIET,
            }
        )
        self._stopping = threading.Event()
        # Threads of its own: a slow broker would occupy all threads of the event loop, and calls to Redis need them.
        self._waiting = ThreadPoolExecutor(_MOST_WAITING, thread_name_prefix="driftline-flush")

    def send(self, message: Outgoing, on_failure: Callable[[str], None] | None = None) -> bool:
        """Queue one message; False when the queue is full (nothing was queued).

        `on_failure` is called with the reason if the message is not delivered in the end.
        """

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None and on_failure is not None:
                on_failure(error.str())

        try:
            self._producer.produce(
                message.topic,
                key=message.key,
                value=message.value,
                headers=list(message.headers),
                on_delivery=delivered,
                partition=_BY_KEY if message.partition is None else message.partition,
            )
        except BufferError:
            return False
        return True

    async def send_all(self, messages: list[Outgoing], timeout_seconds: float = 30.0) -> None:
        """Send in order and return once the broker acknowledged every one.

        Raises:
            UnavailableError: some were not acknowledged in time; any of them may still arrive.
        """
        if not messages:
            return
        failures: list[str] = []
        deadline = time.monotonic() + timeout_seconds
        for message in messages:
            while not self.send(message, failures.append):
                if time.monotonic() > deadline:
                    raise UnavailableError(f"Kafka took nothing for {timeout_seconds:g} s, and the queue is full; is it up?")
                await self._wait(self._producer.poll, 0.1)
        left = await self._wait(self._producer.flush, timeout_seconds)
        if left or failures:
            reason = failures[0] if failures else f"{left} messages unacknowledged after {timeout_seconds:g} s"
            raise UnavailableError(f"Kafka did not acknowledge {messages[0].topic}: {reason}; is the broker up?")

    async def _wait(self, wait: Callable[[float], int], seconds: float) -> int:
        # In the context of the caller, as asyncio.to_thread does it.
        return await asyncio.get_running_loop().run_in_executor(self._waiting, copy_context().run, wait, seconds)

    def poll(self, timeout_seconds: float = 0.0) -> None:
        """Run delivery callbacks; whoever uses `send` has to call it regularly."""
        self._producer.poll(timeout_seconds)

    def start_polling(self) -> None:
        """Run delivery callbacks from a daemon thread (for a server that only calls `send`)."""

        def run() -> None:
            while not self._stopping.is_set():
                self._producer.poll(0.2)

        threading.Thread(target=run, name="driftline-sender", daemon=True).start()

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Flush, and return how many messages remain unsent."""
        self._stopping.set()
        self._waiting.shutdown(wait=False, cancel_futures=True)
        return int(self._producer.flush(timeout_seconds))

    def __len__(self) -> int:
        """Return how many messages wait for an acknowledgement."""
        return len(self._producer)
