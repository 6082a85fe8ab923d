"""A swap event: how a retrain request ended, with the proof; streams/schemas/swap.v1.json describes each field."""

from __future__ import annotations

import msgspec

from detectors.incidents.decision import RetrainResult
from streams.records.cloudevents import SWAP, encode


class ChampionScores(msgspec.Struct, frozen=True):
    """The champion on the held-out rows.

    Args:
        accuracy: share of right answers, None for a regressor.
        loss: mean over the rows, None when a row got no answer.
    """

    accuracy: float | None
    loss: float | None


class CandidateScores(msgspec.Struct, frozen=True):
    """The candidate on the held-out rows: its kind (`warm` or `fresh`), then as for the champion."""

    kind: str
    accuracy: float | None
    loss: float | None


class Lineage(msgspec.Struct, frozen=True):
    """Where the rows are; events of the first version have `topic` and `offsets` only.

    Args:
        topic: of outcomes; None without rows.
        offsets: partition of that topic, as text -> [first offset, offset after the last].
        rows_topic: of the features.
        rows_offsets: as `offsets`, in that topic.
        rows: how many.
        digest: hash of (partition, offset, truth) of every row, as hexadecimal digits: a set made again has the same.
        share: part of the predictions that the rows stand for, because the join kept no more.
    """

    topic: str | None
    offsets: dict[str, list[int]]
    rows_topic: str | msgspec.UnsetType = msgspec.UNSET
    rows_offsets: dict[str, list[int]] | msgspec.UnsetType = msgspec.UNSET
    rows: int | msgspec.UnsetType = msgspec.UNSET
    digest: str | msgspec.UnsetType = msgspec.UNSET
    share: float | msgspec.UnsetType = msgspec.UNSET


class SwapEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The data of one event; times are epoch seconds of event time, but `moved_at` is wall time.

    The order of the fields is their order in the record of a decision (retrainer/swap.py).

    Args:
        result: `decision` in JSON; only `promoted` changes what is served.
        reason: why, for a person.
        version: served from now on, None unless promoted.
        previous: version served before, None if none was.
        generation: of the pointer after the move, None unless promoted.
        request: id of the retrain request.
        alert: id of the alert behind the request, None for a request by hand.
        features: what had drifted.
        requested_at: of the request; records of the first versions have none.
        p_value: chance of such an advantage if the candidate were no better, None without a comparison.
    """

    model: str
    result: RetrainResult = msgspec.field(name="decision")
    reason: str
    version: int | None
    previous: int | None
    generation: int | None
    request: str
    alert: str | None
    features: list[str]
    began_at: float
    requested_at: float | msgspec.UnsetType = msgspec.UNSET
    trained_rows: int
    holdout_rows: int
    candidate: CandidateScores | None
    champion: ChampionScores | None
    p_value: float | None
    moved_at: float | None
    lineage: Lineage


def cloud_event(event: SwapEvent, identity: str, time_seconds: float) -> bytes:
    """Return the CloudEvent that the swaps topic carries; `time_seconds` is the event time of the request, epoch seconds."""
    return encode(SWAP, identity, event.model, time_seconds, msgspec.to_builtins(event))
