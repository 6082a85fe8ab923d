"""The guard of a running worker: it checks again and again that its topics are those that it started with.

A topic that was created again would be read on as if it were the old one, and new partitions would be
summarised under the old number. Offsets show neither.
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
    """Check again and again; after two failures in a row, end the process with the exit status of the error.

    Two, because a broker that has just started may answer from old knowledge.
    """
    suspicions = 0
    while True:
        await asyncio.sleep(interval_seconds)
        try:
            await asyncio.to_thread(lambda: binding.bind(store, binding.current(kafka)))
        except UnavailableError:
            continue  # nothing is known; the agents that need the service log it
        except StateError as error:
            suspicions += 1
            if suspicions < 2:
                continue
            _LOG.error("%s", error)
            logging.shutdown()
            leave(error.exit_code)
        suspicions = 0
