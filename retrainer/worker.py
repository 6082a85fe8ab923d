"""The retrainer process: requests in, decisions out.

Rules:
1. A request stays open until its decision has been announced. The committed offset is that of the oldest open request,
   so a new process reads every request that was open when the old one was killed.
2. Requests of one model are decided in order, each after the end of the one before. Other models do not wait for them.
3. Without Kafka or Redis the retrainer waits and loses nothing: every step can be repeated (retrainer/swap.py).
4. A request that cannot be used goes to the dead letters with the reason, and the next request follows.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass

from detectors.errors import ConfigError, DriftlineError, EventError, ModelError, UnavailableError
from detectors.incidents.retrain import Request
from retrainer.candidate import load_factory
from retrainer.outage import Outage
from retrainer.request import parse
from retrainer.swap import ATTEMPTS, Swap, Swaps
from retrainer.training_set import TrainingEnds, TrainingTopics
from retrainer.trial import Trial, TrialResult, abandoned
from serving.registry.versions import Registry
from streams.kafka import GroupReader, Log, Record, Sender, require_topics
from streams.metrics import Metrics
from streams.records.dead_letters import dead_letter
from streams.settings import Settings
from streams.state.store import Store
from streams.topics import DEAD, OUTCOMES, RETRAINS, ROWS, SWAPS, WINDOWS, topic_name

_LOG = logging.getLogger("driftline.retrainer")
_GROUP = "retrainer"
_POLL_SECONDS = 0.3
_IDLE_POLL_SECONDS = 1.0
#: Requests open at once; further ones wait in the log.
_MOST_OPEN = 100


class _Stopped(Exception):  # noqa: N818 - no error: it ends a long step when the process is to end
    """The process was asked to end."""


@dataclass(slots=True)
class _OpenRequest:
    """One record of the retrains topic on its way to a decision."""

    record: Record
    read_at: float
    request: Request | None = None
    trial: Trial | None = None
    ended: TrialResult | None = None
    #: Recorded decisions that could not move the pointer, because somebody else moved it first.
    lost: int = 0


class Retrainer:
    """Everything that the process owns; `turn` is one round over the open requests."""

    def __init__(self, settings: Settings, metrics: Metrics, stopping: threading.Event) -> None:
        """Connect lazily; once `stopping` is set, a step under way ends, and the next process repeats it."""
        self._settings = settings
        self._metrics = metrics
        self._stopping = stopping
        self._reader = GroupReader(settings.kafka, _GROUP, topic_name(settings.kafka.prefix, RETRAINS))
        self._log = Log(settings.kafka, "retrainer-rows")
        self._topics = TrainingTopics.of(settings.kafka.prefix)
        self._sender = Sender(settings.kafka, "driftline-retrainer")
        self._store = Store(settings.redis, settings.signing_key)
        self._registry = Registry(self._store)
        self._swaps = Swaps(settings.kafka, self._store, self._registry, self._sender)
        self._open: dict[tuple[int, int], _OpenRequest] = {}
        self._read: dict[int, int] = {}
        self._committed: dict[int, int] = {}

    def turn(self) -> None:
        """Take up the next request if there is one, advance the open requests, commit those that are decided.

        Raises:
            UnavailableError: Kafka or Redis is away; the next turn goes on where this one stopped.
        """
        self._take_up()
        busy: set[str] = set()
        if self._open:
            ends = TrainingEnds.of(self._log, self._topics)
            for key, item in sorted(self._open.items()):
                if self._forward(item, ends, busy):
                    del self._open[key]
        self._commit()

    def close(self) -> None:
        """Leave the group and the brokers."""
        self._reader.close()
        self._log.close()
        self._sender.close()

    def _take_up(self) -> None:
        if len(self._open) >= _MOST_OPEN:
            self._stopping.wait(_POLL_SECONDS)
            return
        record = self._reader.poll(_POLL_SECONDS if self._open else _IDLE_POLL_SECONDS)
        assigned = self._reader.assigned()
        for key in [key for key in self._open if key[0] not in assigned]:
            del self._open[key]  # another member has the partition now, and reads the request again
        for partition in set(self._read) - assigned:
            self._read.pop(partition)
            self._committed.pop(partition, None)
        if record is not None:
            self._open.setdefault((record.partition, record.offset), _OpenRequest(record, time.monotonic()))
            self._read[record.partition] = record.offset + 1

    def _commit(self) -> None:
        safe = dict(self._read)
        for partition, offset in self._open:
            safe[partition] = min(safe[partition], offset)
        new = {partition: offset for partition, offset in safe.items() if self._committed.get(partition) != offset}
        if new:
            self._reader.commit(new)
            self._committed.update(new)

    def _forward(self, item: _OpenRequest, ends: TrainingEnds, busy: set[str]) -> bool:
        """Advance one request; True when nothing is left to do for it."""
        try:
            item.request = item.request or parse(item.record.value)
            if item.request.model in busy:
                return False
            busy.add(item.request.model)
            return self._decide(item, item.request, ends)
        except UnavailableError:
            raise
        except EventError as error:
            self._dead_letter(item.record, error)
        except DriftlineError as error:
            _LOG.error("request at offset %d: %s", item.record.offset, error)
            self._dead_letter(item.record, EventError("undecided", "", str(error)))
        return True

    def _decide(self, item: _OpenRequest, request: Request, ends: TrainingEnds) -> bool:
        if item.trial is None:
            if self._swaps.announced(request):
                return True
            standing = self._swaps.recorded(request)
            if standing and self._swaps.carry_out(standing[-1]):
                self._finish(item, request, standing[-1])
                return True
            item.lost = len(standing)
            item.trial = self._begin(request)
            item.ended = self._answered(request)
        if item.ended is None:
            item.ended = _outrun() if item.lost == ATTEMPTS - 1 else item.trial.advance(ends, time.monotonic(), self._progress)
        while item.ended is not None:
            try:
                swap = self._swaps.record(request, item.ended, item.lost)
            except ModelError as error:  # the candidate does not pickle, or stumbles over a golden row
                if item.ended.result == "abandoned":
                    raise
                item.ended = abandoned(item.ended, str(error))
                continue
            if self._swaps.carry_out(swap):
                self._finish(item, request, swap)
                return True
            proof = item.ended.proof
            item.ended = _outrun() if item.lost + 1 == ATTEMPTS - 1 or proof is None else item.trial.again(proof, self._progress)
            item.lost += 1
        return False

    def _begin(self, request: Request) -> Trial:
        spec = self._settings.model(request.model)
        if spec is None:
            known = ", ".join(model.name for model in self._settings.models) or "none"
            raise EventError("unknown_model", "data.model", f'no model "{request.model}" in driftline.toml; known: {known}')
        _LOG.info("%s: retrain %s asked for (%s)", request.model, request.id, request.reason)
        return Trial(request, spec, self._registry, self._log, self._topics, started_at=time.monotonic())

    def _answered(self, request: Request) -> TrialResult | None:
        spec = self._settings.model(request.model)
        swap = None if spec is None else self._swaps.answering(request, spec.retrain.cooldown_seconds)
        if swap is None:
            return None
        reason = f"answered by the swap to version {swap.event.version}, which was asked for within a cool-down before"
        return TrialResult("abandoned", reason)

    def _finish(self, item: _OpenRequest, request: Request, swap: Swap) -> None:
        self._swaps.announce(request, swap)
        event = swap.event
        self._metrics.count("driftline_retrains_total", model=request.model, decision=event.result)
        self._metrics.count("driftline_training_rows_total", event.trained_rows, model=request.model)
        self._metrics.observe("driftline_retrain_seconds", time.monotonic() - item.read_at, model=request.model)
        _LOG.info("%s: retrain %s %s: %s", request.model, request.id, event.result, event.reason)

    def _dead_letter(self, record: Record, error: EventError) -> None:
        asyncio.run(self._sender.send_all([dead_letter(self._settings.kafka, record, record, error)]))
        self._metrics.count("driftline_dead_letters_total", reason=error.reason)
        _LOG.warning("request at %s/%d/%d goes to the dead letters: %s", record.topic, record.partition, record.offset, error)

    def _progress(self, done: int, rows: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        if rows and sys.stderr.isatty():
            sys.stderr.write(f"\rlearning {done:,} of {rows:,} rows" + ("\n" if done == rows else ""))
            sys.stderr.flush()


def _outrun() -> TrialResult:
    return TrialResult("abandoned", "the served version was changed by somebody else twice while this one was proved; ask again")


def run_retrainer(settings: Settings, metrics: Metrics | None = None, *, stopping: threading.Event | None = None) -> None:
    """Decide retrain requests until SIGTERM, Ctrl-C or `stopping`; then return; the next process goes on with what is open.

    Raises:
        ConfigError: there is no signing key, or a model's factory cannot be imported.
        UnavailableError: at the start, Kafka, Redis or a topic is not there, or the metrics port is taken.
    """
    stopping = stopping or threading.Event()
    metrics = metrics or Metrics()
    _check(settings)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
    host = settings.metrics_host
    port = metrics.serve(host, settings.retrainer_metrics_port, remedy="set another retrainer metrics port")
    retrainer = Retrainer(settings, metrics, stopping)
    print(f"driftline retrainer: ready (metrics http://{host}:{port}/metrics)", flush=True)  # noqa: T201 - the only line on stdout
    outage = Outage(_LOG)
    try:
        while not stopping.is_set():
            try:
                retrainer.turn()
            except UnavailableError as error:
                stopping.wait(outage.lasts(str(error)))
            else:
                outage.over()
    except _Stopped:
        _LOG.info("told to stop in the middle of a request: it will be done again")
    finally:
        retrainer.close()


def _check(settings: Settings) -> None:
    """Return if the process can do its work.

    Raises:
        ConfigError: there is no signing key, or a factory cannot be imported.
        UnavailableError: Kafka, Redis or a topic is not there.
    """
    if not settings.signing_key:
        raise ConfigError("no signing key: set DRIFTLINE_SIGNING_KEY, the same on every process")
    for model in settings.models:
        if model.factory is not None and model.retrain.enabled:
            try:
                load_factory(model.factory)
            except ConfigError as error:
                raise ConfigError(f"models.{model.name}.{error}") from error
    Store(settings.redis, settings.signing_key).ping()
    require_topics(settings.kafka, (OUTCOMES, ROWS, RETRAINS, SWAPS, WINDOWS, DEAD))
