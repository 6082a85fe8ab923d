"""Statistics of the windows of a reference that is being learned -> baselines.

Rules:
1. A recording begins with windows whose samples are kept. They give the references, and the number of windows of
   each feature that are merged before they are judged. Of later windows only the statistics are kept.
2. Windows are merged and measured with the code that judges them later (detectors/measure/rollup.py).
3. Memory is bounded: beyond `most_bytes` every second block of 16 consecutive windows is dropped, as in
   detectors/learning/learner.py.
4. Each day drops other blocks. So a time of day, or of week, that one day drops is kept of another, and the
   remaining windows have no gap that would cost the season (detectors/reference/season.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from detectors.learning.fit_baseline import learn
from detectors.measure.batches import WindowBatches
from detectors.measure.measure import Measures, names_for
from detectors.measure.rollup import Rollup
from detectors.measure.sums import WindowSums
from detectors.reference.baseline import Baseline
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.learned import Calendar, FeatureBaseline
from detectors.reference.local_time import DAY_SECONDS, local_times
from detectors.reference.matrix import Integers, ReferenceMatrix
from detectors.reference.season import COARSE_SECONDS, Flags, choose
from detectors.statistics import FLOOR, OF_G, STATISTICS, StatisticName, place_of
from detectors.windows.feature import Feature

#: Windows that are kept or dropped together.
BLOCK = 16
#: Blocks by which the choice moves from a day to the next: the odd number below 256 that leaves the smallest gaps in a few
#: weeks together.
_TURN = 85
_MOST_BYTES = 64 << 20
#: Most events of a window that are recorded: with more, the variance within a window is negligible.
_MOST_EVENTS = 60_000.0
#: A statistic with values in fewer reference windows is not monitored.
_MIN_MEASURES = 8
_WITHOUT_FLOOR = [place_of(name) for name in sorted(OF_G)]
#: Values of statistics that are fitted at a time: fitting takes ten arrays of this many float64.
_AT_ONCE = 1 << 21

#: First second of a window, its rows, and the features of each of its parts.
Measured = tuple[float, int, Sequence[Mapping[str, Feature]]]


def turn_of(place: int, window_seconds: float) -> int:
    """Return a window's thinning rank: it is kept while `every` (a power of two) divides it.

    The windows of a block have the same rank, and the rank rises from block to block of a day. If windows are as wide as slots of
    the day or week, a day has few blocks, and slots tolerate gaps: then the rank is the number of the block.

    Args:
        place: number of the window, its first second divided by its width.
        window_seconds: width of a window.
    """
    block, seconds = place // BLOCK, BLOCK * window_seconds
    if window_seconds >= COARSE_SECONDS:
        return block
    day = int(block * seconds // DAY_SECONDS)
    return block - math.ceil(day * DAY_SECONDS / seconds) + _TURN * day


class History(msgspec.Struct):
    """The statistics of all windows of one roll-up width.

    Args:
        rows: row in `Measures` of each monitored statistic, shape (m,).
        columns: its column, shape (m,).
        starts: first second of each window, epoch seconds.
        values: the statistics of each window, float16 of shape (m,), NaN without data; a step is a thousandth of a value.
        counts: number of events behind them, float16 of shape (m,), `_MOST_EVENTS` at most.
        within: sum over the windows of the variance within a window, times the events, shape (m,).
        spoken: number of windows with data, shape (m,).
    """

    rows: np.ndarray
    columns: np.ndarray
    starts: list[float]
    values: list[bytes]
    counts: list[bytes]
    within: np.ndarray
    spoken: np.ndarray

    @classmethod
    def begin(cls, cells: Sequence[tuple[int, int]]) -> History:
        """Return a history of these (row, column) without a window."""
        rows, columns = np.array(cells, dtype=np.float64).reshape(-1, 2).T
        return cls(rows, columns, [], [], [], np.zeros(len(cells)), np.zeros(len(cells)))

    @property
    def cells(self) -> tuple[Integers, Integers]:
        """Rows and columns, to index an array of shape (S, F)."""
        return self.rows.astype(np.intp), self.columns.astype(np.intp)

    def add(self, start: float, measured: Measures) -> None:
        """Add the statistics of a window."""
        cells = self.cells
        value, count = measured.value[cells], measured.count[cells]
        there = ~np.isnan(value)
        self.within += np.where(there, measured.within[cells], 0.0)
        self.spoken += there
        self.starts.append(start)
        self.values.append(value.astype("<f2").tobytes())
        self.counts.append(np.minimum(count, _MOST_EVENTS).astype("<f2").tobytes())

    def thin(self, keep: Sequence[bool]) -> None:
        """Drop the windows that `keep` does not name; the variance within a window stays the mean of all windows."""
        self.starts = [start for start, kept in zip(self.starts, keep, strict=True) if kept]
        self.values = [value for value, kept in zip(self.values, keep, strict=True) if kept]
        self.counts = [count for count, kept in zip(self.counts, keep, strict=True) if kept]

    @property
    def held_bytes(self) -> int:
        """Bytes of the statistics of all windows."""
        return self.window_bytes * len(self.starts)

    @property
    def window_bytes(self) -> int:
        """Bytes of the statistics of a window."""
        return 4 * len(self.rows)

    def learn(self, width: float, calendar: Calendar) -> Iterator[tuple[int, int, Baseline]]:
        """Yield (row, column, baseline) of each statistic with data in enough windows; `width` of a window is in seconds."""
        if not self.starts:
            return
        starts = np.array(self.starts)
        local = local_times(starts, calendar.timezone, calendar.holidays)
        shape = (len(starts), len(self.rows))
        values = np.frombuffer(b"".join(self.values), dtype="<f2").reshape(shape)
        counts = np.frombuffer(b"".join(self.counts), dtype="<f2").reshape(shape)
        for there, cells in _groups_with_same_windows(~np.isnan(values)):
            if there.sum() < _MIN_MEASURES:
                continue
            learned = learn(
                choose(width, calendar.reference_seconds, local[there]),
                width,
                starts=starts[there],
                local=local[there],
                values=values[there][:, cells].astype(np.float64),
                within=self.within[cells] / self.spoken[cells],
                counts=counts[there][:, cells].astype(np.float64),
                floor=np.where(np.isin(self.rows[cells], _WITHOUT_FLOOR), 0.0, FLOOR),
            )
            for cell, baseline in zip(cells.tolist(), learned, strict=True):
                yield int(self.rows[cell]), int(self.columns[cell]), baseline


def _groups_with_same_windows(there: Flags) -> Iterator[tuple[Flags, Integers]]:
    """Yield (windows, statistics): groups of statistics that have data in the same windows, of bounded size."""
    groups: dict[bytes, list[int]] = {}
    for cell, packed in enumerate(np.packbits(there, axis=0).T):
        groups.setdefault(packed.tobytes(), []).append(cell)
    most = max(1, _AT_ONCE // len(there))
    for cells in groups.values():
        for low in range(0, len(cells), most):
            yield there[:, cells[0]], np.array(cells[low : low + most], dtype=np.intp)


class Recording(msgspec.Struct):
    """References, and the statistics of windows measured against them; `histories` maps a roll-up width to its history."""

    window_seconds: float
    references: dict[str, FeatureReference]
    rollup: Rollup
    histories: dict[int, History]
    most_bytes: int = _MOST_BYTES
    every: int = 1
    #: Least and greatest number of each feature in all windows, also in those that are not kept, shape (F,).
    low: np.ndarray = np.ones(0)
    high: np.ndarray = np.ones(0)
    #: The references as columns, without categories of a single window; no part of a snapshot, made again by `bind`.
    matrix: ReferenceMatrix | None = None

    @classmethod
    def begin(
        cls,
        window_seconds: float,
        references: dict[str, FeatureReference],
        rollup_widths: Mapping[str, int],
        *,
        outlier_beyond: float,
        most_bytes: int = _MOST_BYTES,
    ) -> Recording:
        """Return a recording without a window."""
        cells: dict[int, list[tuple[int, int]]] = {}
        for column, (name, reference) in enumerate(references.items()):
            cells.setdefault(rollup_widths[name], []).extend((place_of(one), column) for one in names_for(name, reference))
        rollup = Rollup()
        rollup.set(np.array([rollup_widths[name] for name in references], dtype=np.float64))
        histories = {rollup_width: History.begin(of_width) for rollup_width, of_width in cells.items()}
        low, high = np.full(len(references), np.inf), np.full(len(references), -np.inf)
        recording = cls(window_seconds, references, rollup, histories, most_bytes, low=low, high=high)
        recording.bind(outlier_beyond)
        return recording

    def bind(self, outlier_beyond: float) -> None:
        """Count outliers beyond that distance, in standard deviations; a recording from a snapshot must be bound again."""
        self.matrix = matrix_of(self.references, outlier_beyond=outlier_beyond)

    def add(self, start: float, parts: Sequence[Mapping[str, Feature]], rows: int) -> None:
        """Add a window of `rows` rows; `parts` are the features of each source. Windows come in order of time."""
        self.add_all([(start, rows, parts)])

    def add_all(self, windows: Sequence[Measured]) -> None:
        """Add windows, which come in order of time."""
        for _, _, parts in windows:
            self._reach(parts, self._matrix())
        self.extend(windows)

    def extend(self, windows: Iterable[Measured]) -> None:
        """Add windows in order of time whose extremes the references already include."""
        if not self.references:
            return
        matrix = self._matrix()
        batches = WindowBatches(matrix)
        kept = [window for window in windows if self._turn(window[0]) % self.every == 0]
        waiting: list[tuple[int, float, WindowSums]] = []
        total_bytes = self._held_bytes
        for (start, _, _), now in zip(kept, batches.window_sums((rows, parts) for _, rows, parts in kept), strict=True):
            if self._turn(start) % self.every:  # dropped, because the windows before it made `every` larger
                continue
            for wide in self.rollup.add(round(start / self.window_seconds), now, matrix):
                if wide.rollup_width in self.histories and wide.columns.any():
                    sums = wide.sums if wide.rollup_width == 1 else wide.sums.copy()
                    waiting.append((wide.rollup_width, wide.place * self.window_seconds, sums))
                    total_bytes += self.histories[wide.rollup_width].window_bytes
            if len(waiting) >= batches.most or total_bytes > self.most_bytes:
                self._write(waiting, batches)
                waiting = []
                self._thin()
                total_bytes = self._held_bytes
        self._write(waiting, batches)

    def _write(self, waiting: Sequence[tuple[int, float, WindowSums]], batches: WindowBatches) -> None:
        """Add the statistics of windows to their histories; a window is (roll-up width, first second, sums)."""
        measured = batches.measure([sums for _, _, sums in waiting])
        for (rollup_width, start, _), one in zip(waiting, measured, strict=True):
            self.histories[rollup_width].add(start, one)

    def _thin(self) -> None:
        while self._held_bytes > self.most_bytes and self.every < 1 << 20:
            self.every *= 2
            for history in self.histories.values():
                history.thin([self._turn(one) % self.every == 0 for one in history.starts])

    @property
    def _held_bytes(self) -> int:
        return sum(history.held_bytes for history in self.histories.values())

    def _matrix(self) -> ReferenceMatrix:
        if self.matrix is None:
            raise RuntimeError("this recording comes from a snapshot: call bind(outlier_beyond) first")
        return self.matrix

    def _turn(self, start: float) -> int:
        return turn_of(round(start / self.window_seconds), self.window_seconds)

    def _reach(self, parts: Sequence[Mapping[str, Feature]], matrix: ReferenceMatrix) -> None:
        for part in parts:
            numbers = [
                (column, feature.numeric)
                for name, feature in part.items()
                if feature.numeric is not None and (column := matrix.column.get(name)) is not None
            ]
            if numbers:
                columns = np.array([column for column, _ in numbers], dtype=np.intp)
                self.low[columns] = np.minimum(self.low[columns], [numeric.low for _, numeric in numbers])
                self.high[columns] = np.maximum(self.high[columns], [numeric.high for _, numeric in numbers])

    def _reached(self, column: int, reference: FeatureReference) -> FeatureReference:
        """Return a reference whose extremes are those of all windows: a value between them is not outside."""
        quantiles = reference.quantiles.copy()
        if len(quantiles):
            quantiles[0] = min(quantiles[0], self.low[column])
            quantiles[-1] = max(quantiles[-1], self.high[column])
        return msgspec.structs.replace(reference, quantiles=quantiles)

    def learn(self, calendar: Calendar) -> dict[str, FeatureBaseline]:
        """Return feature -> reference and baselines."""
        names = list(self.references)
        found: dict[str, dict[StatisticName, Baseline]] = {name: {} for name in names}
        for rollup_width, history in self.histories.items():
            for row, column, baseline in history.learn(rollup_width * self.window_seconds, calendar):
                found[names[column]][STATISTICS[row]] = baseline
        rollup_widths = self.rollup.rollup_widths.astype(int).tolist()
        return {
            name: FeatureBaseline(
                self._reached(column, self.references[name]),
                {statistic: baselines[statistic] for statistic in STATISTICS if statistic in baselines},
                rollup_width,
            )
            for column, ((name, baselines), rollup_width) in enumerate(zip(found.items(), rollup_widths, strict=True))
        }


def matrix_of(references: Mapping[str, FeatureReference], *, outlier_beyond: float) -> ReferenceMatrix:
    """Return the references as columns, without categories of a single window: a new category will be unknown in the same way."""
    return ReferenceMatrix(
        {
            name: msgspec.structs.replace(
                reference, known={category: count for category, count in reference.known.items() if count > 1}
            )
            for name, reference in references.items()
        },
        outlier_beyond=outlier_beyond,
    )
