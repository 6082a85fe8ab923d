"""The router: records of a foreign topic, written to our topics under the right keys, each once.

Rules:
1. Messages, dead letters and offsets are one Kafka transaction (streams/kafka/transaction.py). A label that came twice
   could stand behind a newer one of its id, and would look like a correction.
2. What becomes of a record follows from the record alone (`Route`). So a record at which the route fails is a dead letter at
   once: a second try would fail as well.
3. Any other error ends the membership and the producer. Both are made again after a pause that grows, and the log says why
   once a minute.
4. Routers of all workers share the partitions as one group, `PREFIX.router`.
5. Every wait is short or ends with the stop, so that a worker stops in time. A router that is not done by then is left
   behind: what it did not commit counts as not read.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from detectors.errors import EventError, UnavailableError
from streams.kafka import Outgoing, Record
from streams.kafka.transaction import Transactions
from streams.metrics import Metrics
from streams.patience import Backoff, LogLimit
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings

_LOG = logging.getLogger("driftline.router")

#: A record -> the messages that it stands for; raises `EventError` for a dead letter.
Route = Callable[[Record], Sequence[Outgoing]]

GROUP = "router"
#: Longest wait for a first record, which is how late a stop may be noticed; and how long others are gathered behind it.
_WAIT_SECONDS, _GATHER_SECONDS = 0.25, 0.07
_PAUSES = Backoff(0.25, 10.0)


class Router:
    """One thread that routes one topic."""

    def __init__(self, kafka: KafkaSettings, *, topic: str, route: Route, metrics: Metrics, group: str = GROUP) -> None:
        """Start nothing yet.

        Args:
            kafka: the broker.
            topic: full name of the foreign topic, which has to exist.
            route: what becomes of a record.
            metrics: of the process.
            group: name of the consumer group behind the prefix.
        """
        self._kafka = kafka
        self._topic = topic
        self._route = route
        self._metrics = metrics
        self._group = group
        self._identity = f"{kafka.prefix}.{group}.{uuid.uuid4().hex}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"driftline-{group}", daemon=True)
        self._log_limit = LogLimit()

    def start(self) -> None:
        """Route in the background from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let it end after the transaction at hand; returns at once."""
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end of a router that was stopped, so long at most; return whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - whatever it was, the answer is to begin again
                self._metrics.count("driftline_router_failures_total", topic=self._topic)
                # An error after a long time of work is a new one, and is tried again soon.
                pause = _PAUSES.after(0.0 if time.monotonic() - began > _PAUSES.longest else pause)
                if self._log_limit.due():
                    why = str(error) if isinstance(error, UnavailableError) else f"{type(error).__name__}: {error}"
                    _LOG.warning("routing %s: %s; beginning again in %.3g s", self._topic, why, pause)
                _LOG.debug("routing %s failed", self._topic, exc_info=error)
                self._stopping.wait(pause)

    def _work(self) -> None:
        """Route until the stop or an error."""
        transactions = Transactions(self._kafka, self._group, self._topic, identity=self._identity)
        try:
            while not self._stopping.is_set():
                records = transactions.read(_WAIT_SECONDS, _GATHER_SECONDS)
                if records:
                    self._pass_on(transactions, records)
                self._metrics.gauge("driftline_router_unread_records", transactions.unread(), topic=self._topic)
        finally:
            transactions.close()

    def _pass_on(self, transactions: Transactions, records: Sequence[Record]) -> None:
        messages: list[Outgoing] = []
        reasons: list[str] = []
        for record in records:
            try:
                messages.extend(self._route(record))
            except Exception as error:  # noqa: BLE001 - rule 2
                fault = (
                    error if isinstance(error, EventError) else EventError("failed", "", f"{type(error).__name__} in the router")
                )
                messages.append(dead_letter(self._kafka, record, record, fault))
                reasons.append(fault.reason)
        transactions.commit(messages)
        self._metrics.count("driftline_router_records_total", len(records) - len(reasons), topic=self._topic, result="routed")
        for reason in reasons:
            self._metrics.count("driftline_router_records_total", topic=self._topic, result="dead")
            self._metrics.count("driftline_dead_letters_total", reason=reason)
