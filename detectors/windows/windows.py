"""Summarise: rows of one source partition -> closed windows of event time.

Rules:
1. A window is an aligned bucket of event time, `start = floor(ts / width) * width`, of one model and
   segment in one source partition. That is its identity; a re-emitted window is recognised by it.
2. The watermark of a model is its newest event time less the allowed lateness. A bucket closes when
   the watermark reaches its end, and never opens again: a row for it is late, counted, in no window.
3. A `Mark` follows the windows that one batch closed: all windows of that model and source which end
   at or before `until` have been written. The judge waits for the marks of all sources.
4. What comes out of a model depends on its rows in their order alone, not on how they were cut into batches.
5. `durable` is the offset to start from after a crash: the first row of the oldest open window, and
   not past the row that set the newest time. Reading again from there, or from anywhere before, rebuilds
   the same state, so nothing is stored. Windows closed before it may come out again, in part, or with rows that were late
   when what closed them was still known; the marks that are already in the log tell the judge to ignore them.
6. A model from which nothing came for `_IDLE_OFFSETS` offsets of its partition is closed, or it would hold
   `durable` back for good. When is decided by the offsets alone (rule 4). What is closed stays closed.
7. Memory is bounded: beyond `max_segments` segments of a bucket, rows go to the segment `~other`; beyond
   `max_values` values held in a bucket, the window that holds most is folded into a summary of bounded
   size, and goes on. What happens in a bucket depends on its own rows alone, and after a crash all of
   them are read again, so rules 4 and 5 hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from detectors.arrays import Floats, Integers
from detectors.windows.block import Block, blocks_of
from detectors.windows.feature import Column, Feature
from detectors.windows.part import Part, columns_of
from detectors.windows.record import OTHER_SEGMENT, Kind, Mark, Window, WindowShape
from detectors.windows.row import PREDICTION, VOLUME, Row

#: Values that a row is counted as beside those of its features.
_ROW_VALUES = 8
#: A model is idle after so many offsets without a row of it, once the log has passed a multiple of the other.
_IDLE_OFFSETS = 1 << 20
_LOOK_OFFSETS = 1 << 16


class _OpenWindow:
    """A window that still takes rows."""

    __slots__ = ("first", "folded", "held", "last", "n", "parts")

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.n = 0
        #: Values in `parts`.
        self.held = 0
        self.parts: list[Part] = []
        self.folded: dict[str, Column] = {}

    def add(self, part: Part, values: int) -> None:
        first, last = int(part.block.offsets[part.low]), int(part.block.offsets[part.high - 1])
        self.first = first if self.n == 0 else min(self.first, first)
        self.last = max(self.last, last)
        self.n += part.high - part.low
        self.held += values
        self.parts.append(part)

    def fold(self, limit: int) -> None:
        """Turn the rows into a summary; of more than `limit` features those that came first are kept.

        What the model put out is kept beside them.
        """
        if not self.parts:
            return
        found = columns_of(self.parts)
        found.pop(VOLUME, None)  # that name stands for the number of rows
        new = [name for name in found if name not in self.folded and name not in PREDICTION]
        known_names = sum(1 for name in self.folded if name not in PREDICTION)
        if known_names + len(new) > limit:
            new.sort(key=lambda name: (self._came(name), name))
            for name in new[max(0, limit - known_names) :]:
                del found[name]
        for name, column in found.items():
            known = self.folded.get(name)
            self.folded[name] = (column if known is None else known.folded(column)).bounded()
        self.parts = []
        self.held = 0

    def _came(self, name: str) -> int:
        """Return the least offset of a row that has the feature."""
        having = ((part, part.has(name)) for part in self.parts)
        return min(int(part.block.offsets[places].min()) for part, places in having if len(places))

    def close(self, limit: int) -> dict[str, Feature]:
        self.fold(limit)
        return {name: column.feature(self.n) for name, column in sorted(self.folded.items())}


class _OpenBucket:
    """The open windows of one stretch of event time; `first` is the offset of the first row in any of them."""

    __slots__ = ("first", "held", "windows")

    def __init__(self, first: int) -> None:
        self.first = first
        self.windows: dict[str, _OpenWindow] = {}
        #: Values held as rows in all of them.
        self.held = 0

    def fold_largest(self, limit: int) -> None:
        """Fold the window that holds most, and free its rows also where others were fetched with them."""
        held, segment = max((window.held, segment) for segment, window in self.windows.items())
        self.windows[segment].fold(limit)
        self.held -= held
        for window in self.windows.values():
            window.parts = [part.alone() for part in window.parts]


class _Progress:
    """Event time of one model in one source partition."""

    __slots__ = ("closed", "newest", "newest_offset", "open", "seen")

    def __init__(self) -> None:
        self.newest = -math.inf
        #: Offset of the row that set it; None when nothing of the model has to be read again.
        self.newest_offset: int | None = None
        #: Offset of the last row, whatever its time.
        self.seen = -1
        #: Buckets with a smaller index are closed.
        self.closed: int | None = None
        self.open: dict[int, _OpenBucket] = {}


class Windows:
    """The open windows of one source partition.

    >>> windows = Windows("features", source=0, sources=1, shapes={"m": WindowShape(10.0, 0.0)})
    >>> rows = [Row(0, "m", 100.0, "", {"x": 1.0}), Row(1, "m", 104.0, "", {"x": 3.0})]
    >>> [type(item).__name__ for item in windows.add_rows(rows)]
    ['Mark']
    >>> [type(item).__name__ for item in windows.add_rows([Row(2, "m", 111.0, "", {"x": 2.0})])]
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
        #: Rows that came too late, by model, since the object was made.
        self.late: dict[str, int] = {}

    def add(self, blocks: Iterable[Block]) -> list[Window | Mark]:
        """Take the rows of one stretch of the log, a block for each model, and return what they closed.

        Blocks of models without a shape are ignored.
        """
        written: list[Window | Mark] = []
        last = -1
        for block in blocks:
            last = max(last, int(block.offsets[-1]))
            if block.model in self._shapes:
                for stretch in self._stretches(block):
                    written.extend(self._add(stretch))
        if last >= 0:
            written.extend(self._forget_idle(last))
        return written

    def add_rows(self, rows: Iterable[Row]) -> list[Window | Mark]:
        """Take rows of any models in offset order, as `add` takes blocks of them."""
        return self.add(blocks_of(rows))

    def _stretches(self, block: Block) -> Iterator[Block]:
        """Yield the block, cut where the model is idle in between (rule 6)."""
        offsets = block.offsets
        rest = block
        if int(offsets[-1]) - int(offsets[0]) > _IDLE_OFFSETS - _LOOK_OFFSETS:
            cuts = np.flatnonzero(_looked(offsets[1:]) - offsets[:-1] > _IDLE_OFFSETS) + 1
            for cut in cuts.tolist():
                yield block.taken(np.flatnonzero((offsets >= rest.offsets[0]) & (offsets < offsets[cut])))
                rest = block.cut(cut, len(block))
        yield rest

    def _add(self, block: Block) -> Iterator[Window | Mark]:
        model, shape = block.model, self._shapes[block.model]
        yield from self._forget(model, int(block.offsets[0]))
        progress = self._models.setdefault(model, _Progress())
        progress.seen = int(block.offsets[-1])
        begun = progress.closed
        # Newest event time and closed buckets as they were before each row, and after the last.
        reached = block.ts if block.ticks is None else np.where(block.ticks, block.ts + shape.lateness_seconds, block.ts)
        newest = np.maximum.accumulate(np.concatenate(([progress.newest], reached)))
        closed = np.floor((newest - shape.lateness_seconds) / shape.seconds)
        if progress.closed is not None:  # an idle model may be closed further than its newest time says
            closed = np.maximum(closed, progress.closed)
        if newest[-1] > progress.newest:
            progress.newest = float(newest[-1])
            progress.newest_offset = int(block.offsets[np.argmax(reached)])
        buckets = np.floor(block.ts / shape.seconds)
        late = buckets < closed[:-1]
        if block.ticks is not None:
            late &= ~block.ticks
        if late.any():
            self.late[model] = self.late.get(model, 0) + int(late.sum())
        taken = ~late if block.ticks is None else ~late & ~block.ticks
        start = 0
        for end in [*(np.flatnonzero(closed[1:] > closed[:-1]) + 1).tolist(), len(block)]:
            places = np.flatnonzero(taken[start:end]) + start
            if len(places):
                self._take(block, places, buckets, shape, progress)
            if end > start and closed[end] > closed[start]:
                progress.closed = int(closed[end])
                yield from self._close(model, shape, progress)
            start = end
        if progress.closed != begun:
            yield self._mark(model)

    def _take(self, block: Block, places: Integers, buckets: Floats, shape: WindowShape, progress: _Progress) -> None:
        """Put rows into their buckets."""
        wanted = buckets[places]
        if wanted.min() == wanted.max():
            self._take_bucket(block, places, int(wanted[0]), shape, progress)
            return
        order = np.argsort(wanted, kind="stable")
        cuts = np.flatnonzero(np.diff(wanted[order])) + 1
        for mine in np.split(places[order], cuts):
            self._take_bucket(block, mine, int(buckets[mine[0]]), shape, progress)

    def _take_bucket(self, block: Block, places: Integers, index: int, shape: WindowShape, progress: _Progress) -> None:
        """Put rows into the windows of one bucket, folding when they would be too many (rule 7)."""
        bucket = progress.open.get(index)
        if bucket is None:
            bucket = progress.open[index] = _OpenBucket(int(block.offsets[places[0]]))
        total = np.cumsum(block.sizes[places] + _ROW_VALUES)
        done, used = 0, 0
        while done < len(places):
            fits = int(np.searchsorted(total, used + shape.max_values - bucket.held, side="right"))
            if fits <= done:
                if bucket.held:
                    bucket.fold_largest(shape.max_features)
                    continue
                fits = done + 1  # a row that is larger than the limit, alone
            for part, segment in _parts(block, places[done:fits]):
                self._put(part, segment, bucket, shape)
            done, used = fits, int(total[fits - 1])

    def _put(self, part: Part, segment: str, bucket: _OpenBucket, shape: WindowShape) -> None:
        window = bucket.windows.get(segment)
        if window is None:
            if segment and len(bucket.windows) >= shape.max_segments:
                segment = OTHER_SEGMENT
            window = bucket.windows.setdefault(segment, _OpenWindow())
        values = int(part.block.sizes[part.low : part.high].sum()) + _ROW_VALUES * (part.high - part.low)
        window.add(part, values)
        bucket.held += values

    def _mark(self, model: str) -> Mark:
        until = (self._models[model].closed or 0) * self._shapes[model].seconds
        return Mark(model=model, kind=self._kind, source=self._source, sources=self._sources, until=until)

    def _forget_idle(self, offset: int) -> Iterator[Window | Mark]:
        for model in list(self._models):
            yield from self._forget(model, offset)

    def _forget(self, model: str, offset: int) -> Iterator[Window | Mark]:
        """Close a model that is idle at that offset of the log (rule 6)."""
        progress = self._models.get(model)
        if progress is None or int(_looked(offset)) - progress.seen <= _IDLE_OFFSETS:
            return
        if progress.open:
            progress.closed = max(progress.open) + 1
            yield from self._close(model, self._shapes[model], progress)
            yield self._mark(model)
        progress.newest_offset = None

    def _close(self, model: str, shape: WindowShape, progress: _Progress) -> Iterator[Window]:
        for index in sorted(index for index in progress.open if progress.closed is not None and index < progress.closed):
            for segment, window in sorted(progress.open.pop(index).windows.items()):
                yield Window(
                    model=model,
                    segment=segment,
                    kind=self._kind,
                    source=self._source,
                    start=index * shape.seconds,
                    seconds=shape.seconds,
                    first=window.first,
                    last=window.last,
                    n=window.n,
                    features=window.close(shape.max_features),
                )

    def durable(self, position: int) -> int:
        """Return the offset to start from after a crash; `position` is the next offset to be read."""
        offsets = [bucket.first for progress in self._models.values() for bucket in progress.open.values()]
        offsets += [progress.newest_offset for progress in self._models.values() if progress.newest_offset is not None]
        return min(offsets, default=position)

    def watermarks(self) -> dict[str, float]:
        """Return model -> event time up to which its windows are closed, epoch seconds."""
        return {
            model: progress.closed * self._shapes[model].seconds
            for model, progress in self._models.items()
            if progress.closed is not None
        }


def _parts(block: Block, places: Integers) -> list[tuple[Part, str]]:
    """Return the rows at some places of a block by segment, in the order in which segments first come."""
    low, high = int(places[0]), int(places[-1]) + 1
    segments = block.segments
    if segments is None or len(set(segments[low:high])) == 1:
        segment = "" if segments is None else segments[low]
        if high - low == len(places):
            return [(Part(block, low, high).alone(), segment)]
        return [(Part(block.taken(places), 0, len(places)), segment)]
    by_segment: dict[str, list[int]] = {}
    for place in places.tolist():
        by_segment.setdefault(segments[place], []).append(place)
    rows = block.taken(np.concatenate([np.array(mine) for mine in by_segment.values()]))
    ends = np.cumsum([len(mine) for mine in by_segment.values()]).tolist()
    return [(Part(rows, end - len(mine), end), segment) for (segment, mine), end in zip(by_segment.items(), ends, strict=True)]


def _looked(offset: Any) -> Any:
    """Return the last multiple of `_LOOK_OFFSETS` that the log has passed at an offset (or an array of them)."""
    return offset // _LOOK_OFFSETS * _LOOK_OFFSETS
