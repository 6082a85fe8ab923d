"""Decisions that the judge reads in the windows topic: how a retrain ended, or that a person accepted a change."""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.windows.record import Kind

RetrainResult = Literal["promoted", "rejected", "abandoned"]


class Place(msgspec.Struct, frozen=True):
    """Where a decision stood in a history that has been made again since.

    Args:
        after: kind of windows -> event time up to which the model had been judged, epoch seconds; -inf before the first window.
        at: event time that the furthest source had reached.
    """

    after: dict[Kind, float]
    at: float


class Decision(msgspec.Struct, frozen=True, tag="decision"):
    """The end of one retrain request.

    Args:
        id: of the swap event.
        request: id of the request it answers.
        result: only `promoted` changes what is served, and so what is normal; `outcome` on the wire.
        version: served from now on, None unless promoted.
        features: features that drifted, as the request named them.
        place: where it takes effect; None for its own position in the log.
        requested_at: event time of the request, epoch seconds: incidents that were open then are answered. None in records of
            older versions.
    """

    id: str
    model: str
    request: str
    result: RetrainResult = msgspec.field(name="outcome")
    version: int | None
    features: list[str]
    place: Place | None = None
    requested_at: float | None = None
    v: int = 1


class Change(msgspec.Struct, frozen=True):
    """A feature of one segment in one kind of windows."""

    kind: Kind
    segment: str
    feature: str


class Acceptance(msgspec.Struct, frozen=True, tag="acceptance"):
    """A person accepts changes: the windows since their alarms are the new normal.

    Args:
        id: a hash of the incidents and changes, so that accepting twice is accepting once.
        incidents: ids of the incidents.
        changes: the changes that are accepted.
        seen: kind of windows -> event time up to which the person knew the open incidents, epoch seconds; an incident that was
            raised later is not accepted.
        place: where it takes effect; None for its own position in the log.
    """

    id: str
    model: str
    incidents: list[str]
    changes: list[Change]
    seen: dict[Kind, float]
    place: Place | None = None
    v: int = 1


#: Records that are carried over when a history is made again, because they do not follow from events.
Decided = Decision | Acceptance
