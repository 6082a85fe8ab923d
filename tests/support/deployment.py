"""A deployment of one model for the tests of the loop, and an input log that is known to the byte."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from benchmarks import deployment
from streams.kafka import Outgoing
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import EVENTS, topic_name
from tests.support.paths import DATA

MODEL = "shop"
WINDOW_SECONDS = 60.0
#: First second of event time; a whole minute.
BEGIN = 1_700_000_040.0 - 1_700_000_040.0 % 60.0
PER_WINDOW = 40
#: Short, so that a killed worker's partitions are free again soon.
_SESSION_SECONDS = 6.0

_SHOP = """
[models.shop]
factory = "loop_model:make"
window = "1m"
lateness = "10s"

[models.shop.reference]
duration = "40m"
min_windows = 30

[models.shop.outcomes]
label_within = "1h"

[models.shop.retrain]
cooldown = "2h"
min_rows = 800
"""

_T = TypeVar("_T")


def until(answer: Callable[[], _T | None], *, seconds: float = 60.0, what: str) -> _T:
    """Return the first answer that is not None, asking again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while (found := answer()) is None:
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
    return found


class ShopDeployment(deployment.Deployment):
    """Processes of one deployment of the shop's model on given servers."""

    def __init__(self, home: Path, kafka: KafkaSettings, redis: RedisSettings, key: Secret) -> None:
        """Write the configuration and the model's factory."""
        super().__init__(home, replace(kafka, session_timeout_seconds=_SESSION_SECONDS), redis, key, models=_SHOP)
        shutil.copy(DATA / "loop" / "loop_model.py", home)


def event(prefix: str, body: Mapping[str, Any], *, key: str, partition: int | None = None) -> Outgoing:
    """Return one event as a message."""
    return Outgoing(
        topic_name(KafkaSettings(prefix=prefix).prefix, EVENTS), key.encode(), orjson.dumps(body), partition=partition
    )


def shop_rows(windows: int, *, drift_at: int, seed: int = 7) -> Iterator[tuple[str, float, dict[str, Any], bool]]:
    """Yield (id, ts, features, truth): from window `drift_at` on x is 3 higher and the truth is turned round."""
    random = np.random.default_rng(seed)
    step = WINDOW_SECONDS / PER_WINDOW
    for number in range(windows * PER_WINDOW):
        drifted = number >= drift_at * PER_WINDOW
        x, y = random.normal(3.0 if drifted else 0.0), random.normal()
        truth = bool((x - (3.0 if drifted else 0.0) > 0) != drifted)
        colour = str(random.choice(["red", "green", "blue"]))
        yield f"order-{number}", BEGIN + number * step, {"x": float(x), "y": float(y), "colour": colour}, truth


def shop_log(prefix: str, windows: int, *, drift_at: int, sources: int = 4) -> list[Outgoing]:
    """Return predictions with labels a minute behind, and at the end what closes every window of every partition."""
    log: list[Outgoing] = []
    waiting: list[tuple[str, float, bool]] = []
    for identity, ts, features, truth in shop_rows(windows, drift_at=drift_at):
        log.append(_prediction(prefix, identity, ts, features))
        waiting.append((identity, ts, truth))
        while waiting[0][1] <= ts - 60.0:
            due, at, label = waiting.pop(0)
            log.append(event(prefix, {"type": "label", "id": due, "model": MODEL, "ts": at + 60.0, "label": label}, key=due))
    end = BEGIN + (windows + 10) * WINDOW_SECONDS
    for source in range(sources):
        closing = f"closing-{source}"
        log.append(_prediction(prefix, closing, end, {"x": 0.0, "y": 0.0, "colour": "red"}, partition=source))
        label = {"type": "label", "id": closing, "model": MODEL, "ts": end, "label": True}
        log.append(event(prefix, label, key=closing, partition=source))
    return log


def _prediction(prefix: str, identity: str, ts: float, features: Mapping[str, Any], partition: int | None = None) -> Outgoing:
    body = {
        "id": identity,
        "model": MODEL,
        "ts": ts,
        "features": features,
        "prediction": {"label": features["x"] > 0, "score": 0.5},
    }
    return event(prefix, body, key=identity, partition=partition)


def end_of(windows: int) -> float:
    """Return the event time up to which a log of so many windows closes everything."""
    return BEGIN + windows * WINDOW_SECONDS
