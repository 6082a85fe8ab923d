"""The records of the windows topic that summarise writes: a part of a bucket, and a mark of how far its source has come."""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.windows.feature import Feature

Kind = Literal["features", "outcomes"]


#: Where rows of segments beyond the limit go.
OTHER_SEGMENT = "~other"


class Window(msgspec.Struct, frozen=True, tag="window"):
    """A closed window: what the windows topic carries.

    Args:
        kind: of features, or of outcomes.
        source: partition that the rows came from.
        start: first second of the bucket, epoch seconds; it ends at `start + seconds`.
        first: offset of its first row in the source partition; `last` of its last.
        n: rows in it.
        features: name -> summary.
    """

    model: str
    segment: str
    kind: Kind
    source: int
    start: float
    seconds: float
    first: int
    last: int
    n: int
    features: dict[str, Feature]
    v: int = 1

    @property
    def end(self) -> float:
        """End of the bucket, epoch seconds, rounded as a mark's `until` is: as a multiple of the width."""
        return (round(self.start / self.seconds) + 1) * self.seconds


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """All windows of this model, kind and source that end at or before `until` have been written.

    `sources` is the number of partitions of the source topic: so many marks make a bucket complete.
    """

    model: str
    kind: Kind
    source: int
    sources: int
    until: float
    v: int = 1


class WindowShape(msgspec.Struct, frozen=True):
    """Width, lateness and limits of one model's windows, in seconds of event time."""

    seconds: float
    lateness_seconds: float
    max_segments: int = 100
    max_features: int = 500
    #: Values held as rows in the windows of one bucket; with what surrounds them some 10 bytes a number, 60 a text.
    max_values: int = 4_000_000
