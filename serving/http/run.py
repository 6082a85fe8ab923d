"""The serving process: check Kafka and Redis, load the promoted versions, listen, stop on a signal.

Rules:
1. It listens only after Kafka, Redis and the events topic answered and the pointer of each model was read once.
2. On SIGTERM and SIGINT it takes no new connection, finishes the requests, flushes the event log and returns.
3. Without Redis or Kafka later on it goes on answering: the loaded versions stay, and events that Kafka does not take
   are counted as dropped.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from detectors.errors import ConfigError
from serving.http.eventlog import EventLog
from serving.http.service import Service
from serving.live import LiveModel
from serving.registry.versions import Registry
from streams.kafka import Sender, require_topics
from streams.listening import cannot_listen
from streams.metrics import Metrics
from streams.state.store import Store
from streams.topics import EVENTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.settings import HttpSettings, Settings

_KEEPALIVE_SECONDS = 75.0
_GRACE_SECONDS = 10.0

_LOG = logging.getLogger("driftline.serve")


def serve(settings: Settings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with the address once it listens.

    Raises:
        ConfigError: no model to serve, or no signing key.
        UnavailableError: no Kafka, no Redis, no events topic, or the port is taken.
    """
    if not settings.models:
        raise ConfigError("driftline.toml: models: none to serve; add a [models.NAME] block")
    if not settings.signing_key:
        raise ConfigError("DRIFTLINE_SIGNING_KEY: empty, so no model could be trusted; set the same key for every process")
    store = Store(settings.redis, settings.signing_key)
    store.ping()
    require_topics(settings.kafka, (EVENTS,))
    metrics = Metrics()
    registry = Registry(store)
    models = {spec.name: LiveModel(spec.name, registry, metrics) for spec in settings.models}
    with ExitStack() as closing:
        sender = Sender(settings.kafka, f"{settings.kafka.prefix}.serve", give_up_seconds=60.0)
        closing.callback(_flush, sender)
        sender.start_polling()
        for live in models.values():
            live.refresh()
            closing.callback(live.stop)
            live.watch()
        service = Service(settings.models, models, EventLog(sender, settings.kafka, metrics), metrics)
        asyncio.run(_until_signal(service, settings.serve, ready))


def _flush(sender: Sender) -> None:
    if unsent := sender.close(_GRACE_SECONDS):
        _LOG.warning("Kafka did not take %d predictions and labels within %g s: they are lost", unsent, _GRACE_SECONDS)


async def _until_signal(service: Service, http: HttpSettings, ready: Callable[[str], None] | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with listening(service, http) as address:
        print(f"driftline serve: listening on {address}", flush=True)  # noqa: T201 - scripts read the port from this line
        if ready is not None:
            ready(address)
        await stopping.wait()


@asynccontextmanager
async def listening(service: Service, http: HttpSettings) -> AsyncIterator[str]:
    """Listen while the block runs, and give it the address; at its end requests under way are finished.

    Raises:
        UnavailableError: the port is taken, or the host is not one of this machine's.
    """
    runner = web.AppRunner(service.app(), access_log=None, keepalive_timeout=_KEEPALIVE_SECONDS, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, http.host, http.port)
        try:
            await site.start()
        except OSError as error:
            remedy = "free the port, or set [serve] port in driftline.toml"
            raise cannot_listen(http.host, http.port, error, remedy) from None
        host = f"[{http.host}]" if ":" in http.host else http.host
        yield f"http://{host}:{runner.addresses[0][1]}"
        await site.stop()
        # Before the cleanup, which drops requests that still arrive on open connections.
        await service.drain(_GRACE_SECONDS)
    finally:
        await runner.cleanup()
