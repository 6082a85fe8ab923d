"""Alerts and swaps as marks on Grafana's time axis: the notify agent delivers them, dashboards/push.py sends them."""

from __future__ import annotations

from typing import Any

from dashboards.push import Annotations
from streams.metrics import Metrics
from streams.records import cloudevents, times
from streams.settings import GrafanaSettings


class AnnotationSink:
    """A sink of the notify agent. It waits for nothing: `Annotations` has a queue and a thread."""

    def __init__(self, settings: GrafanaSettings, metrics: Metrics) -> None:
        """Count annotations in the `metrics` of the process."""
        self._annotations = Annotations(settings.url, settings.token, metrics=metrics)

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:  # noqa: ARG002 - the sinks' common signature
        """Mark an incident from its begin to its end, and a swap at the time of its request."""
        data = event["data"]
        if event["type"] == cloudevents.ALERT:
            end = data["raised_at"] if data["status"] == "resolved" else None
            tags = [data["model"], data["level"], data["severity"]]
            self._annotations.mark("drift", data["summary"], tags, data["began_at"], end, identity=data["incident"])
        elif event["type"] == cloudevents.SWAP:
            kind = "swap" if data["decision"] == "promoted" else "retrain"
            text = f"{data['model']}: {data['decision']}, {data['reason']}"
            at = times.seconds_of(event["time"])
            self._annotations.mark(kind, text, [data["model"], data["decision"]], at, identity=event["id"])

    def close(self) -> None:
        """Send what is queued, for two seconds at most."""
        self._annotations.close(2.0)
