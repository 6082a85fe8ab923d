"""A router as a process of its own, which freezes itself in the middle of a transaction where a test asks for it.

`python -m tests.support.routing_process BOOTSTRAP PREFIX TOPIC SESSION_SECONDS POINT` routes labels of the model "shop" until
SIGTERM. At the second transaction it stops itself (SIGSTOP) at POINT: `read` (records were read, nothing is written),
`written` (messages are, offsets are not), `offsets` (both are, nothing is committed), or `never`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from typing import Any

from detectors.spec import ModelSpec
from streams.kafka import Outgoing
from streams.kafka.transaction import Transactions
from streams.metrics import Metrics
from streams.routing import Router, label_route
from streams.settings import KafkaSettings

POINTS = ("read", "written", "offsets")
FREEZES_AT = 2


class _Freezing:
    """A producer that freezes the process at a point of one of its transactions."""

    def __init__(self, producer: Any, point: str) -> None:
        self._producer = producer
        self._point = point
        self._transactions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def _freeze(self, point: str) -> None:
        if point == self._point and self._transactions == FREEZES_AT:
            self._point = "never"
            os.kill(os.getpid(), signal.SIGSTOP)

    def begin_transaction(self) -> None:
        self._transactions += 1
        self._freeze("read")
        self._producer.begin_transaction()

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._producer.flush(10.0)
        self._freeze("written")
        self._producer.send_offsets_to_transaction(*arguments)
        self._freeze("offsets")


def main() -> None:
    """Route until SIGTERM."""
    bootstrap, prefix, topic, session, point = sys.argv[1:]
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=prefix, session_timeout_seconds=float(session))
    opened = Transactions.__init__
    frozen = False

    def opening(self: Transactions, *arguments: Any, **options: Any) -> None:
        nonlocal frozen
        opened(self, *arguments, **options)
        if not frozen:
            self._producer = _Freezing(self._producer, point)  # type: ignore[assignment] # it has what is called
        frozen = True

    Transactions.__init__ = opening  # type: ignore[method-assign] # for this process alone
    committed = Transactions.commit

    def committing(self: Transactions, messages: Iterable[Outgoing]) -> None:
        committed(self, messages)
        sys.stdout.write("committed\n")
        sys.stdout.flush()

    Transactions.commit = committing  # type: ignore[method-assign] # as above
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    router = Router(kafka, topic=topic, route=label_route(kafka, {"shop": ModelSpec("shop")}), metrics=Metrics())
    router.start()
    stopping.wait()
    router.stop()
    raise SystemExit(0 if router.join(5.0) else 1)


if __name__ == "__main__":
    main()
