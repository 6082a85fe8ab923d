"""What was decided about a model, as the judge reads it in the windows topic: a swap or none, or a change that is accepted."""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.windows.record import Kind

RetrainResult = Literal["promoted", "rejected", "abandoned"]


class Place(msgspec.Struct, frozen=True):
    """Where a decision stood in a history that was made again since.

    Args:
        after: kind of windows -> event time up to which the model was judged, epoch seconds; -inf before the first window.
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
        features: that drifted, as the request named them.
        requested_at: event time of the request: what was open then is answered. None in records of older versions.
        place: where it holds; None where it stands in the log.
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
    """The word of a person that changes are all right: what is seen since is the new normal.

    Args:
        id: a hash of the incidents and changes, so that saying it twice is saying it once.
        incidents: ids of the incidents that were meant.
        changes: what is accepted of them.
        seen: kind of windows -> event time up to which the person knew what was open, epoch seconds; what is raised
            later is not accepted.
        place: where it holds; None where it stands in the log.
    """

    id: str
    model: str
    incidents: list[str]
    changes: list[Change]
    seen: dict[Kind, float]
    place: Place | None = None
    v: int = 1


#: What is carried over when a history is made again, because it does not follow from events.
Decided = Decision | Acceptance
