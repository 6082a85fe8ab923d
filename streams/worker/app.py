"""The worker process: one Faust app with all agents, its metrics, its clean stop."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import NoReturn, cast

import faust
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from faust.worker import Worker

from detectors.errors import UnavailableError
from streams.engine.lanes import Lanes
from streams.engine.transport import Consumer, KafkaError
from streams.kafka import Sender
from streams.metrics import Metrics
from streams.routing import Router, label_route
from streams.settings import Settings
from streams.stages.sink import Sink
from streams.stages.webhook import Webhook
from streams.state import binding
from streams.state.store import Store
from streams.worker.agents import declare, stage_makers
from streams.worker.guard import guard
from streams.worker.lag import Lag
from streams.worker.shutdown import Stopping
from streams.worker.sources import sources_of

_LOG = logging.getLogger("driftline.worker")

#: Seconds between two checks of the guard.
_GUARD_SECONDS = 10.0
_FLUSH_SECONDS = 0.1
#: Thresholds of the garbage collector: new objects before a collection of the youngest generation, then collections of each
#: generation before one of the next.
_COLLECT_AFTER = (100_000, 20, 20)
#: How long a stop waits for the router, which was told at the signal and has had the time of the agents.
_ROUTER_SECONDS = 1.5
#: Batches that may wait for an agent; each is a whole fetch.
_BATCHES = 4


class _App(faust.App):
    """Faust's app without its directories: they are for tables, and a worker that is killed would leave them behind."""

    def _create_directories(self) -> None:
        """Make none."""


def build_app(settings: Settings, lanes: Lanes) -> faust.App:
    """Return the Faust app; nothing is connected yet."""
    brokers = ";".join(f"kafkabatch://{address.strip()}" for address in settings.kafka.bootstrap.split(","))
    app = _App(
        f"{settings.kafka.prefix}.worker",
        broker=brokers,
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=_BATCHES,
        stream_wait_empty=True,
        broker_max_poll_records=None,
        broker_max_poll_interval=86_400.0,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.kafka.session_timeout_seconds,
        broker_heartbeat_interval=settings.kafka.session_timeout_seconds / 4,
        # A client library refuses a session that is longer than a request may take.
        broker_request_timeout=max(90.0, settings.kafka.session_timeout_seconds + 10.0),
        # Durable offsets may rightly stand still (an open window), so Faust's livelock warnings mislead.
        broker_commit_livelock_soft_timeout=365 * 86_400.0,
        stream_processing_timeout=365 * 86_400.0,
    )
    app.progress = lanes  # type: ignore[attr-defined] # the transport looks for it there
    return app


def run_worker(settings: Settings, *, metrics: Metrics, sinks: Sequence[Sink] = (), ready: Callable[[str], None] = print) -> int:
    """Run a worker until a signal stops it; return the exit code.

    Args:
        settings: of the process.
        metrics: of the process; they are served from here on.
        sinks: receive alerts and swaps, besides the webhook of the settings.
        ready: called with one line once the worker has its partitions.

    Raises:
        DriftlineError: it cannot start.
    """
    # Until Faust installs its handlers there is nothing to store: a signal ends the process at once.
    signal.signal(signal.SIGTERM, _stop_at_once)
    sources = sources_of(settings)
    store = Store(settings.redis, settings.signing_key)
    store.ping()
    binding.bind(store, binding.current(settings.kafka))
    port = metrics.serve(
        settings.metrics_host, settings.worker_metrics_port, remedy="set [worker] metrics_port, or 0 for any free port"
    )
    sender = Sender(settings.kafka, "driftline-worker")
    receivers = [*sinks, *([Webhook(settings.webhook, metrics)] if settings.webhook.url else [])]
    makers = stage_makers(settings, store=store, metrics=metrics, sinks=receivers, sources=sources)
    lanes = Lanes(settings.kafka, sender, metrics, makers)
    app = build_app(settings, lanes)
    declare(app, lanes, makers)

    async def keep_guard() -> None:
        await guard(settings.kafka, store, _GUARD_SECONDS)

    app.task(keep_guard)
    _add_tasks(
        app, lanes, metrics, lambda: ready(f"driftline worker: ready (metrics http://{settings.metrics_host}:{port}/metrics)")
    )
    worker = _Worker(app, loglevel="WARN", override_logging=False, quiet=True, redirect_stdouts=False)
    router = _router(settings, metrics)
    worker.stopping = Stopping()
    worker.beside = router
    # A fetch makes ten thousand short-lived objects. Collections that walk them and all modules again and again would take
    # a large part of a worker's time and free nothing.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    worker.spinner = None  # it writes to the terminal, and into files that are no terminal
    if router is not None:
        router.start()
    try:
        code = _run(worker, settings.kafka.bootstrap)
    finally:
        if router is not None:
            router.stop()
            router.join(_ROUTER_SECONDS)
    sender.close(2.0)
    return code


def _router(settings: Settings, metrics: Metrics) -> Router | None:
    """Return the router of the topic of labels, None without such a topic."""
    if not settings.join.labels_topic:
        return None
    models = {model.name: model for model in settings.models}
    return Router(settings.kafka, topic=settings.join.labels_topic, route=label_route(settings.kafka, models), metrics=metrics)


def _stop_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


class _Worker(Worker):
    """Faust's worker without its banner; the front door sets up logging, and `Stopping` the signals."""

    stopping: Stopping
    #: Works beside the agents, and stops with them.
    beside: Router | None = None

    def install_signal_handlers(self) -> None:
        """Stop on SIGTERM and SIGINT, in time."""

        def stop() -> None:
            if self.beside is not None:
                self.beside.stop()
            self.loop.call_soon_threadsafe(self._schedule_shutdown, signal.SIGTERM)

        self.stopping.listen(stop)

    def _setup_logging(self) -> None:
        """Leave logging as the front door set it up."""


def _add_tasks(app: faust.App, lanes: Lanes, metrics: Metrics, announce: Callable[[], None]) -> None:
    announced = False

    @app.on_rebalance_complete.connect
    async def on_ready(*_: object, **__: object) -> None:
        nonlocal announced
        if not announced:
            announced = True
            announce()

    async def flush() -> None:
        lanes.attach(cast("Consumer", app.consumer))
        await lanes.flush_forever(_FLUSH_SECONDS)

    def assigned() -> Iterable[TP]:
        try:
            return app.consumer.assignment()
        except ConsumerNotStarted:
            return ()

    async def ends(tps: Iterable[TP]) -> Mapping[TP, int]:
        return await app.consumer.highwaters(*tps)

    async def look() -> None:
        await Lag(lanes, metrics).look_forever(assigned, ends)

    app.task(flush)
    app.task(look)


def _run(worker: Worker, bootstrap: str) -> int:
    try:
        worker.execute_from_commandline()
    except SystemExit as stop:
        if isinstance(stop.__context__, KafkaError | ConsumerNotStarted):  # Faust turns the error into a bare status
            raise UnavailableError(
                f"Kafka at {bootstrap} went away while the worker was starting: start it, then the worker again"
            ) from None
        code = stop.code
        return code if isinstance(code, int) else int(code is not None)
    return 0
