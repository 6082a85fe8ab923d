"""Summarise: rows of one source partition -> closed windows of event time.

Rules:
1. A window is an aligned bucket of event time, `start = floor(ts / width) * width`, of one model and
   segment in one source partition. That is its identity; a re-emitted window is recognised by it.
2. The watermark of a model is its newest event time less the allowed lateness. A bucket closes when
   the watermark reaches its end, and never opens again: a row for it is late, counted, in no window.
3. A `Mark` follows the windows that one batch closed: all windows of that model and source which end
   at or before `until` have been written. The judge waits for the marks of all sources.
4. What comes out depends on the rows in their order alone, not on how they were cut into batches.
5. `durable` is the offset to start from after a crash: the first row of the oldest open window, and
   not past the row that set the newest time. Reading again from there rebuilds the same state, so
   nothing is stored. Windows closed before it may come out again, in part; the marks that are
   already in the log tell the judge to ignore them.
6. A model from which nothing came for `_IDLE_OFFSETS` offsets of its partition is closed and forgotten,
   or it would hold `durable` back for good. When is decided by the offsets alone (rule 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from detectors.columns import Columns, Feature
from detectors.row import Row, Value

Kind = Literal["features", "outcomes"]

#: Rows held as rows before they are folded into columns.
_FOLD = 1024
#: Where rows of segments beyond the limit go.
OTHER_SEGMENT = "~other"
#: A model is idle after so many offsets without a row of it; looked at whenever a multiple of the other is passed.
_IDLE_OFFSETS = 1 << 20
_LOOK_OFFSETS = 1 << 16


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


class _Open:
    """A window that still takes rows."""

    __slots__ = ("columns", "first", "last", "limit", "n", "pending")

    def __init__(self, first: int, limit: int) -> None:
        self.first = first
        self.last = first
        self.limit = limit
        self.n = 0
        self.pending: list[Mapping[str, Value]] = []
        self.columns: dict[str, Columns] = {}

    def add(self, offset: int, values: Mapping[str, Value]) -> None:
        self.last = offset
        self.n += 1
        self.pending.append(values)
        if len(self.pending) >= _FOLD:
            self._fold()

    def _fold(self) -> None:
        names = dict.fromkeys(name for values in self.pending for name in values)
        for name in names:
            if name not in self.columns:
                if len(self.columns) >= self.limit:
                    continue
                self.columns[name] = Columns()
            self.columns[name].add([values[name] for values in self.pending if name in values])
        self.pending.clear()

    def close(self) -> dict[str, Feature]:
        self._fold()
        return {name: column.close(self.n) for name, column in sorted(self.columns.items())}


class _Progress:
    """Event time of one model in one source partition."""

    __slots__ = ("closed", "newest", "newest_offset", "open", "seen")

    def __init__(self) -> None:
        self.newest = -math.inf
        self.newest_offset = -1
        #: Offset of the last row, whatever its time.
        self.seen = -1
        #: Buckets with a smaller index are closed.
        self.closed: int | None = None
        self.open: dict[tuple[int, str], _Open] = {}


class WindowShape(msgspec.Struct, frozen=True):
    """Width, lateness and limits of one model's windows, in seconds of event time."""

    seconds: float
    lateness_seconds: float
    max_segments: int = 100
    max_features: int = 500


class Windows:
    """The open windows of one source partition.

    >>> windows = Windows("features", source=0, sources=1, shapes={"m": WindowShape(10.0, 0.0)})
    >>> rows = [Row(0, "m", 100.0, "", {"x": 1.0}), Row(1, "m", 104.0, "", {"x": 3.0})]
    >>> [type(item).__name__ for item in windows.add(rows)]
    ['Mark']
    >>> [type(item).__name__ for item in windows.add([Row(2, "m", 111.0, "", {"x": 2.0})])]
    ['Window', 'Mark']
    >>> windows.durable(3)
    2
    """

    def __init__(self, kind: Kind, *, source: int, sources: int, shapes: Mapping[str, WindowShape]) -> None:
        self._kind = kind
        self._source = source
        self._sources = sources
        self._shapes = shapes
        self._models: dict[str, _Progress] = {}
        #: Multiple of `_LOOK_OFFSETS` that the last row had passed.
        self._looked: int | None = None
        #: Rows that came too late, by model, since the object was made.
        self.late: dict[str, int] = {}

    def add(self, rows: Iterable[Row]) -> list[Window | Mark]:
        """Take rows in offset order and return what they closed, windows before their mark.

        Rows of models without a shape are ignored.
        """
        written: list[Window | Mark] = []
        advanced: dict[str, None] = {}
        for row in rows:
            if row.offset // _LOOK_OFFSETS != self._looked:
                written.extend(self._forget_idle(row.offset))
                self._looked = row.offset // _LOOK_OFFSETS
            shape = self._shapes.get(row.model)
            if shape is None:
                continue
            progress = self._models.get(row.model)
            if progress is None:
                progress = self._models[row.model] = _Progress()
            progress.seen = row.offset
            self._take(row, shape, progress)
            newest = row.ts if row.values is not None else row.ts + shape.lateness_seconds
            if newest > progress.newest:
                progress.newest = newest
                progress.newest_offset = row.offset
                closed = math.floor((newest - shape.lateness_seconds) / shape.seconds)
                if progress.closed is None or closed > progress.closed:
                    progress.closed = closed
                    advanced[row.model] = None
                    written.extend(self._close(row.model, shape, progress))
        written.extend(self._mark(model) for model in advanced if model in self._models)
        return written

    def _mark(self, model: str) -> Mark:
        until = (self._models[model].closed or 0) * self._shapes[model].seconds
        return Mark(model=model, kind=self._kind, source=self._source, sources=self._sources, until=until)

    def _forget_idle(self, offset: int) -> Iterator[Window | Mark]:
        for model in [model for model, progress in self._models.items() if offset - progress.seen > _IDLE_OFFSETS]:
            progress = self._models[model]
            if progress.open:
                progress.closed = max(bucket for bucket, _ in progress.open) + 1
                yield from self._close(model, self._shapes[model], progress)
                yield self._mark(model)
            del self._models[model]

    def _take(self, row: Row, shape: WindowShape, progress: _Progress) -> None:
        if row.values is None:
            return
        bucket = math.floor(row.ts / shape.seconds)
        if progress.closed is not None and bucket < progress.closed:
            self.late[row.model] = self.late.get(row.model, 0) + 1
            return
        window = progress.open.get((bucket, row.segment))
        if window is None:
            segment = row.segment
            if segment and sum(1 for other, _ in progress.open if other == bucket) >= shape.max_segments:
                segment = OTHER_SEGMENT
                window = progress.open.get((bucket, segment))
            if window is None:
                window = progress.open[(bucket, segment)] = _Open(row.offset, shape.max_features)
        window.add(row.offset, row.values)

    def _close(self, model: str, shape: WindowShape, progress: _Progress) -> Iterator[Window]:
        closing = sorted(key for key in progress.open if progress.closed is not None and key[0] < progress.closed)
        for bucket, segment in closing:
            window = progress.open.pop((bucket, segment))
            yield Window(
                model=model,
                segment=segment,
                kind=self._kind,
                source=self._source,
                start=bucket * shape.seconds,
                seconds=shape.seconds,
                first=window.first,
                last=window.last,
                n=window.n,
                features=window.close(),
            )

    def durable(self, position: int) -> int:
        """Return the offset to start from after a crash; `position` is the next offset to be read."""
        offsets = [window.first for progress in self._models.values() for window in progress.open.values()]
        offsets += [progress.newest_offset for progress in self._models.values()]
        return min(offsets, default=position)

    def watermarks(self) -> dict[str, float]:
        """Return model -> event time up to which its windows are closed, epoch seconds."""
        return {
            model: progress.closed * self._shapes[model].seconds
            for model, progress in self._models.items()
            if progress.closed is not None
        }
