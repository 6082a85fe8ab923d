"""Two weeks of events of two models: baskets in three segments with a daily season, and hourly deliveries.

They stand in the file as they would on the events topic: predictions, labels hours later, features alone, and
some that nobody can use. Both models have a detector of River. As a log for workers they lie long ago, so that none
is ahead of the broker's clock.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import orjson

from benchmarks.exactness.same_bytes.log import ReplayedLog, SentEvent
from benchmarks.exactness.same_bytes.replays import Replay, ReplaySource

_SEED = 20_262
#: Midnight of a Monday in October 2024, epoch seconds.
_FIRST, _DAYS = 1_728_259_200.0, 14
_END = _FIRST + _DAYS * 86_400.0
_TEN_MINUTES = 600.0
_PARTITIONS = 4
#: How far behind the end the rows lie that close the last windows, in seconds.
_AHEAD = 3 * 3600.0
_SEGMENTS = ("north", "south", "")
#: Baskets of one segment in ten minutes, and deliveries in ten minutes.
_BASKETS, _DELIVERIES = 8, 12
_UNUSABLE = (
    b'{"model": "basket", "features": {"amount": NaN}}',
    b'{"model": "nobody", "ts": 1728259200, "features": {"amount": 1}}',
    b'{"model": "basket", "ts": "yesterday", "features": {"amount": 1}}',
)
#: On a topic it would have the time of its message.
_WITHOUT_TIME = b'{"model": "basket", "features": {"amount": 1}}'

_BASKET = """
[models.basket]
factory = "river.linear_model:LogisticRegression"
window = "10m"
lateness = "2m"
false_alarms = "2 per week"
timezone = "Europe/Oslo"
holidays = "NO"

[models.basket.reference]
duration = "4d"

[models.basket.errors]
detector = "ddm"
label_within = "1d"
window = "1h"
"""
_DELIVERY = """
[models.delivery]
window = "1h"
false_alarms = "5 per week"
detector = "adwin"
features = ["distance", "van", "prediction.score"]

[models.delivery.reference]
duration = "5d"

[models.delivery.errors]
label_within = "12h"
"""
_CONFIG = _BASKET + _DELIVERY
_STRICTER = _CONFIG.replace('"2 per week"', '"1 per month"').replace('"adwin"', '"kswin"').replace('"ddm"', '"hddm_w"')


def _baskets(dice: np.random.Generator, start: float, day: float) -> Iterator[tuple[float, dict[str, Any]]]:
    for segment in _SEGMENTS:
        for _ in range(_BASKETS):
            at = start + dice.random() * _TEN_MINUTES
            hour = (at % 86_400.0) / 3600.0
            dear = 15.0 if segment == "south" and 8.0 <= day < 10.0 else 0.0
            amount = 40.0 + 12.0 * np.sin(hour / 12.0 * np.pi) + dear + dice.normal(0.0, 10.0)
            cash = bool(dice.random() < (0.5 if 11.0 <= day < 12.0 else 0.2))
            guess = bool(amount > 45.0)
            right = dice.random() > (0.4 if day >= 12.0 else 0.1)
            identity = f"b-{at:.6f}-{segment}"
            items = None if dice.random() < 0.05 else int(dice.integers(1, 12))
            features = {"amount": round(float(amount), 2), "items": items, "cash": cash}
            event = {"model": "basket", "ts": round(at, 3), "features": features}
            if segment:
                event["segment"] = segment
            if dice.random() < 0.03:
                yield at, {**event, "type": "features"}
                continue
            yield at, {**event, "id": identity, "prediction": {"label": guess, "score": round(float(dice.random()), 4)}}
            known = at + 3600.0 * (0.5 + 3.0 * dice.random())
            yield known, {"model": "basket", "id": identity, "ts": round(known, 3), "label": guess == right}


def _deliveries(dice: np.random.Generator, start: float, day: float) -> Iterator[tuple[float, dict[str, Any]]]:
    for number in range(_DELIVERIES):
        at = start + dice.random() * _TEN_MINUTES
        distance = round(float(dice.gamma(2.0, 4.0)), 3)
        vans = ("small", "large", "bicycle") if day >= 9.0 else ("small", "large")
        guess = round(distance * 3.0 + 5.0, 2)
        event = {
            "specversion": "1.0",
            "id": f"d-{start:.0f}-{number}",
            "source": "/vans",
            "type": "com.example.delivered",
            "data": {
                "model": "delivery",
                "ts": round(at * 1000.0),
                "features": {"distance": distance, "van": vans[int(dice.integers(len(vans)))], "not watched": number},
                "prediction": guess,
            },
        }
        yield at, event
        known = at + 60.0 * guess
        minutes = round(guess + float(dice.normal(0.0, 4.0)) + (12.0 if day >= 12.5 else 0.0), 1)
        yield known, {"model": "delivery", "id": event["id"], "ts": round(known, 3), "label": minutes}


def _events() -> list[tuple[float, dict[str, Any]]]:
    """Return (when it is known, event), in order."""
    dice = np.random.default_rng(_SEED)
    found: list[tuple[float, dict[str, Any]]] = []
    for step in range(_DAYS * 144):
        start, day = _FIRST + step * _TEN_MINUTES, step / 144.0
        found += _baskets(dice, start, day)
        found += _deliveries(dice, start, day)
    return sorted(found, key=lambda one: one[0])


def _write(folder: Path) -> None:
    lines = [orjson.dumps(event) for _, event in _events()]
    for number, unusable in enumerate((*_UNUSABLE, _WITHOUT_TIME) * 3):
        lines.insert(1000 + 5000 * number, unusable)
    (folder / "shops.jsonl").write_bytes(b"\n".join(lines) + b"\n")


@functools.cache
def shops_log() -> ReplayedLog:
    """Return the events as they would stand on the topic, but for labels that would come after the end."""
    records = [SentEvent(number % _PARTITIONS, None, unusable) for number, unusable in enumerate(_UNUSABLE)]
    for number, (at, event) in enumerate(_events()):
        if at < _END:
            key = None if "id" not in event else event["id"].encode()
            records.append(SentEvent((number if key is None else crc32(key)) % _PARTITIONS, key, orjson.dumps(event)))
    closing = {partition: sum(record.partition == partition for record in records) for partition in range(_PARTITIONS)}
    for partition in range(_PARTITIONS):
        for model in ("basket", "delivery"):
            key = f"closing-{model}-{partition}"
            row = {"model": model, "id": key, "ts": _END + _AHEAD}
            records.append(
                SentEvent(partition, key.encode(), orjson.dumps({**row, "features": {"cash": True}, "prediction": 1.5}))
            )
            records.append(SentEvent(partition, key.encode(), orjson.dumps({**row, "label": 1.5})))
    return ReplayedLog(tuple(records), _PARTITIONS, _FIRST, _END, closing, {"basket": _BASKET, "delivery": _DELIVERY})


SOURCE = ReplaySource(
    "shops",
    "two weeks of generated events of two models, with segments, a daily season and labels that come later",
    _write,
    {"driftline.toml": _CONFIG, "stricter.toml": _STRICTER},
    (
        Replay("events", ("shops.jsonl", "--all"), windows="shops.windows"),
        Replay("one model", ("shops.jsonl", "--model", "delivery")),
        Replay("windows, stricter", ("shops.windows", "--windows", "--all"), config="stricter.toml"),
    ),
)
