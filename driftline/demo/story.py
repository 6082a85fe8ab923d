"""What happened, read from the topics: alerts, retrain requests, decisions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from detectors.errors import DriftlineError
from streams.kafka import Log
from streams.settings import Settings
from streams.topics import ALERTS, DEAD, RETRAINS, SWAPS, Topic, topic_name


@dataclass
class Story:
    """Events by their id, in the order in which they came; a repeat has the id of the first."""

    settings: Settings
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    retrains: dict[str, dict[str, Any]] = field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def follow(self) -> None:
        """Read the topics from now on, each in a thread of its own."""
        for topic, into in ((ALERTS, self.alerts), (RETRAINS, self.retrains), (SWAPS, self.decisions)):
            threading.Thread(target=self._follow, args=(topic, into), name=f"story-{topic.name}", daemon=True).start()

    def _follow(self, topic: Topic, into: dict[str, dict[str, Any]]) -> None:
        log = Log(self.settings.kafka, f"demo-{topic.name}")
        name = topic_name(self.settings.kafka.prefix, topic)
        try:
            start = {number: first for number, (first, _) in log.ends(name).items()}
            for record in log.read(name, start, follow=True, idle_seconds=float("inf")):
                event = orjson.loads(record.value or b"{}")
                into.setdefault(event["id"], {**event["data"], "id": event["id"]})
        except DriftlineError:
            return  # the broker is gone: the demo has ended

    def dead_letters(self) -> int:
        """Return how many dead letters there are."""
        log = Log(self.settings.kafka, "demo-dead-letters")
        try:
            return sum(end - first for first, end in log.ends(topic_name(self.settings.kafka.prefix, DEAD)).values())
        finally:
            log.close()

    def opened(self) -> list[dict[str, Any]]:
        """Return the alerts that opened an incident."""
        return [alert for alert in self.alerts.values() if alert["status"] == "opened"]

    def open_incidents(self) -> list[dict[str, Any]]:
        """Return the newest alert of each incident that is open."""
        newest = {alert["incident"]: alert for alert in self.alerts.values()}
        return [alert for alert in newest.values() if alert["status"] != "resolved"]

    def promoted(self) -> list[dict[str, Any]]:
        """Return the decisions that changed the served version."""
        return [decision for decision in self.decisions.values() if decision["decision"] == "promoted"]

    def closed(self) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """Return (alert, request, decision) of each time the loop closed: alert, retrain, swap."""
        alerts, requests = self.alerts, self.retrains
        return [
            (alerts[decision["alert"]], requests[decision["request"]], decision)
            for decision in self.promoted()
            if decision["request"] in requests and decision["alert"] in alerts
        ]


def wait_until(condition: Callable[[], bool], *, seconds: float, wait: Callable[[float], object]) -> bool:
    """Return whether the condition came true within the time; `wait` passes a little of it."""
    for _ in range(int(seconds / 0.1)):
        if condition():
            return True
        wait(0.1)
    return condition()
