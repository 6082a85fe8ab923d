"""The records that summarise writes to the windows topic: a part of a bucket, and a mark of its source's progress."""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.windows.feature import Feature

Kind = Literal["features", "outcomes"]


#: Segment for the rows of all segments beyond the limit.
OTHER_SEGMENT = "~other"


class Window(msgspec.Struct, frozen=True, tag="window"):
    """A closed window of one source partition: one part of a bucket.

    Args:
        kind: whether its rows are features or outcomes.
        source: partition of its rows.
        start: first second of the bucket, epoch seconds; it ends at `start + seconds`.
        first: offset of its first row in the source partition; `last` of its last row.
        n: number of rows.
        features: name -> summary.
        share: least part of all rows that a row stands for; not set where the rows are no sample.
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
    share: float | msgspec.UnsetType = msgspec.UNSET

    @property
    def end(self) -> float:
        """End of the bucket, epoch seconds, rounded as a mark's `until` is: as a multiple of the width."""
        return (round(self.start / self.seconds) + 1) * self.seconds


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """All windows of this model, kind and source that end at or before `until` (epoch seconds) have been written.

    `sources` is the number of partitions of the source topic: a bucket is complete when all of them have passed it.
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
    #: Most values buffered as rows in the windows of one bucket; a number takes about 10 bytes, a text 60.
    max_buffered_values: int = 4_000_000
