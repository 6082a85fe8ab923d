"""Retrain requests of one channel (detectors/model/channel.py): one drift, one retrain, however many alerts it makes.

Rules:
1. An open incident that no request has answered asks for a retrain on the rows since its estimated begin. Among several
   incidents the newest begin counts: rows from before it no longer show how the world is.
2. While a request is open no other is made, unless it stays unanswered for `_LOST_COOLDOWNS` cool-downs of event time, and a
   day at least.
3. Between two requests of a model lies at least the cool-down. An incident that opens meanwhile waits until it is over. A
   channel does not know the cool-down of the other one; the retrainer skips requests that a swap has answered
   (retrainer/swap.py).
4. More or fewer rows are no reason to retrain: an incident of the volume alone makes no request.
5. A request that ends without a swap leaves its incident unanswered. The incident may ask again after the cool-down, with more
   rows to learn from.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.identity import identity
from detectors.incidents.incident import Incident
from detectors.reference.local_time import DAY_SECONDS
from detectors.windows.row import VOLUME

_LOST_COOLDOWNS = 8

Reason = Literal["drift", "performance", "on_demand"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to retrain one model, of the judge or by hand; times are epoch seconds of event time.

    Args:
        id: a hash of its causes.
        incidents: ids of the incidents it answers; a request by hand answers none.
        alert: id of the alert that opened the newest of them; None in a request by hand.
        began_at: train on what was predicted from here on.
        requested_at: end of the window that led to it, or the time when a person asked.
        features: names of the features that drifted.
    """

    id: str
    model: str
    segment: str = ""
    reason: Reason
    incidents: list[str] = []
    alert: str | None = None
    began_at: float
    requested_at: float
    features: list[str] = []


class Retrains(msgspec.Struct):
    """The requests of one channel of a model."""

    model: str
    cooldown_seconds: float
    enabled: bool
    #: The open request, and when the last request was made, epoch seconds of event time.
    outstanding: Request | None = None
    last_at: float | None = None

    def consider(self, incidents: list[Incident], at: float) -> Request | None:
        """Return a request if the open incidents call for it now; `at` is the end of the window, epoch seconds."""
        incidents = [incident for incident in incidents if incident.drifted.keys() != {VOLUME}]
        if not self.enabled or not incidents:
            return None
        waited = float("inf") if self.last_at is None else at - self.last_at
        patience = max(DAY_SECONDS, self.cooldown_seconds * _LOST_COOLDOWNS) if self.outstanding else self.cooldown_seconds
        if waited < patience:
            return None
        newest = max(incidents, key=lambda incident: (incident.began_at, incident.id))
        request = Request(
            id=identity("retrain", self.model, newest.id, at),
            model=self.model,
            segment=newest.segment,
            reason=newest.level,
            incidents=[incident.id for incident in incidents],
            alert=identity("alert", newest.id, 0, "opened"),
            began_at=newest.began_at,
            requested_at=at,
            features=sorted({feature for incident in incidents for feature in incident.drifted}),
        )
        self.outstanding, self.last_at = request, at
        return request

    def answered(self, request_id: str) -> None:
        """Take note of a decision on a request."""
        if self.outstanding is not None and self.outstanding.id == request_id:
            self.outstanding = None
