"""The guard of a running worker: it looks now and then whether its topics are still those that it started with.

A topic that is created again under a worker would be read on as if nothing had happened, and partitions
that are added would be summarised under the old number. Offsets tell neither.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from detectors.errors import StateError, UnavailableError
from streams.settings import KafkaSettings
from streams.state import binding
from streams.state.store import Store

_LOG = logging.getLogger("driftline.worker")


async def guard(kafka: KafkaSettings, store: Store, interval_seconds: float, leave: Callable[[int], object] = os._exit) -> None:
    """Look again and again; leave hard, with the exit status of its error, once something else was found twice in a row.

    Twice, because a broker that has just started may answer from what it knew before.
    """
    suspicions = 0
    while True:
        await asyncio.sleep(interval_seconds)
        try:
            await asyncio.to_thread(lambda: binding.bind(store, binding.current(kafka)))
        except UnavailableError:
            continue  # nothing is known; who needs the service says so
        except StateError as error:
            suspicions += 1
            if suspicions < 2:
                continue
            _LOG.error("%s", error)
            logging.shutdown()
            leave(error.exit_code)
        suspicions = 0
