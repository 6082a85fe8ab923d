"""The log that every run with a fault reads: short, and with everything in it that a join or a window can meet."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import orjson

from detectors.spec import ModelSpec, OutcomeSpec, OutlierSpec, ReferenceSpec, RetrainSpec
from streams.kafka import Outgoing
from streams.topics import EVENTS, topic_name

SOURCES = 2
_WINDOW_SECONDS = 60.0
_WINDOWS, _DRIFT_AT = 34, 24
#: Colours change when the incident is open already, so that it is told of twice.
_COLOUR_AT = 28
_PER_WINDOW = 4  # of each source
MODELS = (
    ModelSpec(
        "shop",
        factory="a:b",
        window_seconds=_WINDOW_SECONDS,
        lateness_seconds=20.0,
        reference=ReferenceSpec(seconds=20 * _WINDOW_SECONDS, min_windows=20),
        outcomes=OutcomeSpec(label_within_seconds=600.0),
        outliers=OutlierSpec(enabled=False),
        retrain=RetrainSpec(cooldown_seconds=3600.0),
    ),
    ModelSpec("small", window_seconds=2 * _WINDOW_SECONDS, outliers=OutlierSpec(enabled=False)),
)


def events(prefix: str, ahead: int = 0) -> list[Outgoing]:
    """Return a log with drift of features and of errors, and everything that a join or a window can meet.

    The errors change `ahead` windows before the features do.
    """
    draw = random.Random(5)
    topic = topic_name(prefix, EVENTS)
    log: list[Outgoing] = []
    labels: list[tuple[float, int, bytes]] = []

    def send(source: int, body: Mapping[str, Any] | bytes) -> None:
        value = body if isinstance(body, bytes) else orjson.dumps(body)
        log.append(Outgoing(topic, b"k%d" % len(log), value, partition=source))

    for number in range(_WINDOWS * _PER_WINDOW * SOURCES):
        source, ts = number % SOURCES, 60_000.0 + number * _WINDOW_SECONDS / (_PER_WINDOW * SOURCES)
        drifted = number >= _DRIFT_AT * _PER_WINDOW * SOURCES
        colours = "bc" if number >= _COLOUR_AT * _PER_WINDOW * SOURCES else "ab"
        features = {"x": draw.gauss(6.0 if drifted else 0.0, 1.0), "colour": draw.choice(colours)}
        body = {"id": f"o-{number}", "model": "shop", "ts": ts, "features": features, "prediction": {"label": True, "score": 0.5}}
        send(source, body)
        label = {
            "type": "label",
            "id": f"o-{number}",
            "model": "shop",
            "ts": ts + 30.0,
            "label": draw.random() > 0.1 + 0.6 * drifted,
        }
        if number % 8 > 1:  # some predictions never get a label
            labels.append((ts + 30.0, source, orjson.dumps(label)))
        while labels and labels[0][0] <= ts:
            send(labels[0][1], labels.pop(0)[2])
        if number % 37 == 0:
            send(source, {**body, "ts": ts - 200.0, "id": f"late-{number}"})  # too late for its window
            send(source, {**body, "ts": ts - 70.0, "id": f"tardy-{number}"})  # not in order
            send(source, {**body, "ts": ts})  # a prediction told twice
            send(source, {**label, "id": f"early-{number}", "ts": ts})  # a label before its prediction
            send(source, {**body, "id": f"early-{number}", "ts": ts})
            send(source, {**label, "id": f"early-{number}", "label": "other"})  # a label told twice
            send(source, {**label, "id": f"o-{number}", "ts": ts + 1000.0})  # a label too late to be joined
        if number % 31 == 0:
            send(source, b"not an event %d" % number)
        if number % 29 == 0:
            send(source, {"model": "small", "ts": ts, "features": {"z": draw.random()}})
    end = 60_000.0 + (_WINDOWS + 5) * _WINDOW_SECONDS
    for source in range(SOURCES):
        closing = {"id": f"closing-{source}", "model": "shop", "ts": end, "features": {"x": 0.0}, "prediction": {"label": True}}
        send(source, closing)
        send(source, {"type": "label", "id": f"closing-{source}", "model": "shop", "ts": end, "label": True})
        send(source, b"")
    return log
