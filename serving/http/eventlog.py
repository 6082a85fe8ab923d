"""The event log: every answer and every label goes to the events topic, and no answer waits for it.

The key is the event's id, so a prediction and its label go to one partition. The queue is bounded. An event that does not
fit, or that the broker does not take in time, is dropped and counted in `driftline_predictions_dropped_total`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import uuid4

import orjson

from serving.http.body import LabelRequest, PredictionRequest
from serving.registry.artifact import Prediction
from streams.kafka import Outgoing, Sender
from streams.metrics import Metrics
from streams.records.times import rfc3339
from streams.settings import KafkaSettings
from streams.topics import EVENTS, topic_name


class EventLog:
    """Writes predictions and labels of one service."""

    def __init__(self, sender: Sender, settings: KafkaSettings, metrics: Metrics) -> None:
        """Send through `sender`; the caller runs its callbacks (`Sender.start_polling`)."""
        self._sender = sender
        self._topic = topic_name(settings.prefix, EVENTS)
        self._metrics = metrics

    def prediction(self, model: str, version: str, row: PredictionRequest, answer: Prediction) -> str:
        """Log one answer and return its id: that of the row, or a new id."""
        identity = row.id or uuid4().hex
        event: dict[str, Any] = {
            "v": 1,
            "type": "prediction",
            "id": identity,
            "ts": rfc3339(time.time()) if row.ts is None else row.ts,
            "model": model,
            "model_version": version,
            "features": row.features,
            "prediction": answer.as_json(),
        }
        if row.segment is not None:
            event["segment"] = row.segment
        if row.client is not None:
            event["client"] = row.client
        if row.entity is not None:
            event["entity"] = row.entity
        if row.tags is not None:
            event["tags"] = row.tags
        self._send(model, identity, event)
        return identity

    def label(self, model: str, label: LabelRequest) -> bool:
        """Log one label; False when the queue is full and it must be sent again."""
        ts = rfc3339(time.time()) if label.ts is None else label.ts
        event: dict[str, Any] = {"v": 1, "type": "label", "id": label.id, "model": model, "ts": ts, "label": label.label}
        if label.client is not None:
            event["client"] = label.client
        return self._send(model, label.id, event)

    def _send(self, model: str, identity: str, event: dict[str, Any]) -> bool:
        message = Outgoing(self._topic, identity.encode(), orjson.dumps(event))
        if self._sender.send(message, partial(self._dropped, model)):
            return True
        self._dropped(model, "queue full")
        return False

    def _dropped(self, model: str, _reason: str) -> None:
        self._metrics.count("driftline_predictions_dropped_total", model=model)
