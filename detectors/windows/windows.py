"""Summarise: rows of one source partition -> closed windows of event time.

Rules:
1. A window is an aligned bucket of event time, `start = floor(ts / width) * width`, of one model and
   segment in one source partition. These are its identity, by which a repeated window is recognised.
2. The watermark of a model is its newest event time less the allowed lateness. A bucket closes when
   the watermark reaches its end, and never opens again. A row for a closed bucket is late: it is counted, and in no window.
3. A `Mark` follows the windows that a batch closed. It says that all windows of the model and source which end
   at or before `until` have been written. The judge waits for the marks of all sources.
4. The output of a model depends on its rows in their order alone, not on how they were cut into batches.
5. `durable` is the offset to start from after a crash: the first row of the oldest open window, and
   not past the row that set the newest time. Reading again from that offset, or from any earlier offset, rebuilds
   the same state, so nothing is stored. Windows that closed earlier may come out again, in part, or with rows that were late
   in the first run. The marks that are already in the log make the judge ignore them.
6. A model without a row for `_IDLE_OFFSETS` offsets of its partition is closed, or it would hold
   `durable` back for good. The offsets alone decide when (rule 4). A bucket that closes so stays closed.
7. Memory is bounded. Beyond `max_segments` segments of a bucket, rows go to the segment `~other`. Beyond
   `max_buffered_values` values buffered in a bucket, the window that buffers most is folded into a summary of bounded
   size, and goes on. A bucket's folds depend on its own rows alone, and after a crash all of
   them are read again, so rules 4 and 5 hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType

from detectors.arrays import Floats, Integers
from detectors.windows.block import Block, blocks_of
from detectors.windows.feature import Column, Feature
from detectors.windows.part import Part, columns_of
from detectors.windows.record import OTHER_SEGMENT, Kind, Mark, Window, WindowShape
from detectors.windows.row import PREDICTION, VOLUME, Row

#: Values that a row counts for in addition to its features.
_ROW_VALUES = 8
#: A model is idle after `_IDLE_OFFSETS` offsets without a row of it. This is checked at multiples of `_LOOK_OFFSETS`.
_IDLE_OFFSETS = 1 << 20
_LOOK_OFFSETS = 1 << 16


#: The offset of the row that closed a window, or moved a mark, and that record.
Closing = tuple[int, Window | Mark]


@dataclass(frozen=True, slots=True)
class Taken:
    """What some rows led to.

    Args:
        closed: windows and marks in the order in which they are written, each with the row that led to it.
        late: model -> rows that came after their bucket was closed, for the models that had any.
    """

    closed: list[Closing]
    late: dict[str, int]

    @property
    def records(self) -> list[Window | Mark]:
        """The windows and marks alone."""
        return [record for _, record in self.closed]


class _OpenWindow:
    """A window that still takes rows; `first` and `last` are the offsets of its first and last row."""

    __slots__ = ("buffered", "first", "folded", "last", "n", "parts", "share")

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.n = 0
        #: Values in `parts`.
        self.buffered = 0
        self.parts: list[Part] = []
        self.folded: dict[str, Column] = {}
        self.share: float | UnsetType = UNSET

    def add(self, part: Part, values: int) -> None:
        first, last = int(part.block.offsets[part.low]), int(part.block.offsets[part.high - 1])
        self.first = first if self.n == 0 else min(self.first, first)
        self.last = max(self.last, last)
        self.n += part.high - part.low
        self.buffered += values
        self.parts.append(part)
        share = 1.0 if part.block.share is None else float(part.block.share[part.low : part.high].min())
        if share < (1.0 if self.share is UNSET else self.share):
            self.share = share

    def fold(self, limit: int) -> None:
        """Fold the rows into a summary; of more than `limit` features the first ones are kept.

        The model's own outputs are kept in addition.
        """
        if not self.parts:
            return
        columns = columns_of(self.parts)
        columns.pop(VOLUME, None)  # this name means the number of rows
        new = [name for name in columns if name not in self.folded and name not in PREDICTION]
        known_names = sum(1 for name in self.folded if name not in PREDICTION)
        if known_names + len(new) > limit:
            new.sort(key=lambda name: (self._first_offset(name), name))
            for name in new[max(0, limit - known_names) :]:
                del columns[name]
        for name, column in columns.items():
            known = self.folded.get(name)
            self.folded[name] = (column if known is None else known.folded(column)).bounded()
        self.parts = []
        self.buffered = 0

    def _first_offset(self, name: str) -> int:
        """Return the least offset of a row that has the feature."""
        having = ((part, part.has(name)) for part in self.parts)
        return min(int(part.block.offsets[rows].min()) for part, rows in having if len(rows))

    def close(self, limit: int) -> dict[str, Feature]:
        self.fold(limit)
        return {name: column.feature(self.n) for name, column in sorted(self.folded.items())}


class _OpenBucket:
    """The open windows of one bucket of event time; `first` is the offset of the first row in any of them."""

    __slots__ = ("buffered", "first", "windows")

    def __init__(self, first: int) -> None:
        self.first = first
        self.windows: dict[str, _OpenWindow] = {}
        #: Values that are buffered as rows in all of them.
        self.buffered = 0

    def fold_largest(self, limit: int) -> None:
        """Fold the window that buffers most, and free its rows even if other windows share their blocks."""
        buffered, segment = max((window.buffered, segment) for segment, window in self.windows.items())
        self.windows[segment].fold(limit)
        self.buffered -= buffered
        for window in self.windows.values():
            window.parts = [part.alone() for part in window.parts]


class _Progress:
    """Event time of one model in one source partition."""

    __slots__ = ("closed", "newest", "newest_offset", "open", "seen")

    def __init__(self) -> None:
        self.newest = -math.inf
        #: Offset of the row that set `newest`; None if no row of the model has to be read again.
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
    >>> [type(record).__name__ for record in windows.add_rows(rows).records]
    ['Mark']
    >>> [(by, type(record).__name__) for by, record in windows.add_rows([Row(2, "m", 111.0, "", {"x": 2.0})]).closed]
    [(2, 'Window'), (2, 'Mark')]
    >>> windows.durable(3)
    2
    """

    def __init__(
        self, kind: Kind, *, source: int, sources: int, shapes: Mapping[str, WindowShape], mark_rows: bool = False
    ) -> None:
        """Begin without a row.

        Args:
            kind: of the windows.
            source: the partition that the rows come from.
            sources: how many partitions there are.
            shapes: model -> shape of its windows.
            mark_rows: whether a mark follows the windows of each row that closed a bucket, and not only those of each call.
        """
        self._kind = kind
        self._source = source
        self._sources = sources
        self._shapes = shapes
        self._mark_rows = mark_rows
        self._models: dict[str, _Progress] = {}

    def add(self, blocks: Iterable[Block]) -> Taken:
        """Take rows of the log, as blocks, and return the windows that they closed, each model's followed by a mark.

        Blocks of models without a shape are ignored.
        """
        taken = Taken([], {})
        last = -1
        for block in blocks:
            last = max(last, int(block.offsets[-1]))
            if block.model in self._shapes:
                for stretch in self._stretches(block):
                    taken.closed.extend(self._forget(block.model, int(stretch.offsets[0])))
                    closed, late = self._add(stretch)
                    taken.closed.extend(closed)
                    if late:
                        taken.late[block.model] = taken.late.get(block.model, 0) + late
        if last >= 0:
            taken.closed.extend(self._forget_idle(last))
        return taken

    def add_rows(self, rows: Iterable[Row]) -> Taken:
        """Take rows of any models, in offset order, and return the same as `add`."""
        return self.add(blocks_of(rows))

    def end(self, offset: int) -> list[Closing]:
        """Close every bucket, as where a file ends, and return windows and marks; `offset` is the one after the last row."""
        closed: list[Closing] = []
        for model, progress in self._models.items():
            shape = self._shapes[model]
            end = math.floor(progress.newest / shape.seconds) + 1
            if progress.closed is None or end > progress.closed:
                progress.closed = end
                closed.extend((offset, window) for window in self._close(model, shape, progress))
                closed.append((offset, self._mark(model)))
        return closed

    def _stretches(self, block: Block) -> Iterator[Block]:
        """Yield the block in stretches, cut at each gap in which the model was idle (rule 6)."""
        offsets = block.offsets
        rest = block
        if int(offsets[-1]) - int(offsets[0]) > _IDLE_OFFSETS - _LOOK_OFFSETS:
            cuts = np.flatnonzero(_looked(offsets[1:]) - offsets[:-1] > _IDLE_OFFSETS) + 1
            for cut in cuts.tolist():
                yield block.rows_at(np.flatnonzero((offsets >= rest.offsets[0]) & (offsets < offsets[cut])))
                rest = block.cut(cut, len(block))
        yield rest

    def _add(self, block: Block) -> tuple[list[Closing], int]:
        """Take rows of one model, and return what they closed and how many were late."""
        model, shape = block.model, self._shapes[block.model]
        progress = self._models.setdefault(model, _Progress())
        progress.seen = int(block.offsets[-1])
        begun = progress.closed
        # Newest event time and first open bucket, before each row and after the last row.
        reached = block.ts if block.ticks is None else np.where(block.ticks, block.ts + shape.lateness_seconds, block.ts)
        newest = np.maximum.accumulate(np.concatenate(([progress.newest], reached)))
        closed = np.floor((newest - shape.lateness_seconds) / shape.seconds)
        if progress.closed is not None:  # a model that was idle may have closed more buckets than its newest time does
            closed = np.maximum(closed, progress.closed)
        if newest[-1] > progress.newest:
            progress.newest = float(newest[-1])
            progress.newest_offset = int(block.offsets[np.argmax(reached)])
        buckets = np.floor(block.ts / shape.seconds)
        late = buckets < closed[:-1]
        if block.ticks is not None:
            late &= ~block.ticks
        in_time = ~late if block.ticks is None else ~late & ~block.ticks
        found: list[Closing] = []
        start, by = 0, -1
        for end in [*(np.flatnonzero(closed[1:] > closed[:-1]) + 1).tolist(), len(block)]:
            rows = np.flatnonzero(in_time[start:end]) + start
            if len(rows):
                self._take(block, rows, buckets, shape, progress)
            if end > start and closed[end] > closed[start]:
                progress.closed = int(closed[end])
                by = int(block.offsets[end - 1])
                found.extend((by, window) for window in self._close(model, shape, progress))
                if self._mark_rows:
                    found.append((by, self._mark(model)))
            start = end
        if progress.closed != begun and not self._mark_rows:
            found.append((by, self._mark(model)))
        return found, int(late.sum())

    def _take(self, block: Block, rows: Integers, buckets: Floats, shape: WindowShape, progress: _Progress) -> None:
        """Put the rows at these indices of a block into their buckets."""
        wanted = buckets[rows]
        if wanted.min() == wanted.max():
            self._take_bucket(block, rows, int(wanted[0]), shape, progress)
            return
        order = np.argsort(wanted, kind="stable")
        cuts = np.flatnonzero(np.diff(wanted[order])) + 1
        for of_bucket in np.split(rows[order], cuts):
            self._take_bucket(block, of_bucket, int(buckets[of_bucket[0]]), shape, progress)

    def _take_bucket(self, block: Block, rows: Integers, index: int, shape: WindowShape, progress: _Progress) -> None:
        """Put rows into the windows of one bucket, and fold windows when their values would be too many (rule 7)."""
        bucket = progress.open.get(index)
        if bucket is None:
            bucket = progress.open[index] = _OpenBucket(int(block.offsets[rows[0]]))
        total = np.cumsum(block.sizes[rows] + _ROW_VALUES)
        done, used = 0, 0
        while done < len(rows):
            fits = int(np.searchsorted(total, used + shape.max_buffered_values - bucket.buffered, side="right"))
            if fits <= done:
                if bucket.buffered:
                    bucket.fold_largest(shape.max_features)
                    continue
                fits = done + 1  # a single row that is larger than the limit
            for part, segment in _parts(block, rows[done:fits]):
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
        bucket.buffered += values

    def _mark(self, model: str) -> Mark:
        until = (self._models[model].closed or 0) * self._shapes[model].seconds
        return Mark(model=model, kind=self._kind, source=self._source, sources=self._sources, until=until)

    def _forget_idle(self, offset: int) -> Iterator[Closing]:
        for model in list(self._models):
            yield from self._forget(model, offset)

    def _forget(self, model: str, offset: int) -> Iterator[Closing]:
        """Close a model that is idle at that offset of the log (rule 6)."""
        progress = self._models.get(model)
        if progress is None or int(_looked(offset)) - progress.seen <= _IDLE_OFFSETS:
            return
        if progress.open:
            progress.closed = max(progress.open) + 1
            for window in self._close(model, self._shapes[model], progress):
                yield offset, window
            yield offset, self._mark(model)
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
                    share=window.share,
                )

    def durable(self, position: int) -> int:
        """Return the offset to start from after a crash (rule 5); `position` is the next offset to be read."""
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


def _parts(block: Block, rows: Integers) -> list[tuple[Part, str]]:
    """Return (part, segment) of the rows at these indices of a block, segments in the order of their first row."""
    low, high = int(rows[0]), int(rows[-1]) + 1
    segments = block.segments
    if segments is None or len(set(segments[low:high])) == 1:
        segment = "" if segments is None else segments[low]
        if high - low == len(rows):
            return [(Part(block, low, high).alone(), segment)]
        return [(Part(block.rows_at(rows), 0, len(rows)), segment)]
    by_segment: dict[str, list[int]] = {}
    for row in rows.tolist():
        by_segment.setdefault(segments[row], []).append(row)
    sorted_block = block.rows_at(np.concatenate([np.array(of_segment) for of_segment in by_segment.values()]))
    ends = np.cumsum([len(of_segment) for of_segment in by_segment.values()]).tolist()
    return [
        (Part(sorted_block, end - len(of_segment), end), segment)
        for (segment, of_segment), end in zip(by_segment.items(), ends, strict=True)
    ]


def _looked(offset: Any) -> Any:
    """Return the last multiple of `_LOOK_OFFSETS` at or before an offset, or before each of an array of offsets."""
    return offset // _LOOK_OFFSETS * _LOOK_OFFSETS
