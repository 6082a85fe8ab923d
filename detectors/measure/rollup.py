"""Merges windows upwards (a roll-up): sums of neighbouring buckets are added until they span a feature's wide window.

Rules:
1. A column of width k is judged over the buckets with the same `place // k`, where `place` is the number of a bucket: its first
   second divided by the bucket's width. It is judged once all k buckets have come, or once a later bucket shows that the
   others had no rows.
2. The sums that wait have a bounded size, whatever the width.
3. A column that gets another reference drops its waiting sums, because they were measured against the old reference. No
   other column does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.measure.sums import WindowSums, empty
from detectors.reference.matrix import ReferenceMatrix
from detectors.reference.season import Flags


@dataclass(frozen=True, slots=True)
class Wide:
    """A window to be judged.

    Args:
        place: number of its first bucket.
        rollup_width: number of its buckets.
        sums: of all these buckets.
        columns: which columns are to be judged over this window, shape (F,).
    """

    place: int
    rollup_width: int
    sums: WindowSums
    columns: Flags


class Rollup(msgspec.Struct):
    """Sums that wait until their wide window is complete.

    Args:
        rollup_widths: number of buckets over which each column is judged, shape (F,).
        groups: number of the wide window that waits, -1 without, shape (F,).
        waiting: sums of the waiting windows; None while all widths are 1.
        latest: sums of the last complete window of each column with a width above 1; None before the first.
    """

    rollup_widths: np.ndarray = np.ones(0)
    groups: np.ndarray = np.ones(0)
    waiting: WindowSums | None = None
    latest: WindowSums | None = None

    def set(self, rollup_widths: np.ndarray) -> None:
        """Set the widths of all columns, which may be new columns; all waiting sums are dropped."""
        self.rollup_widths = rollup_widths
        self.groups = np.full(len(rollup_widths), -1.0)
        self.waiting = self.latest = None

    def exchange(self, rollup_widths: np.ndarray, anew: Flags, before: ReferenceMatrix, after: ReferenceMatrix) -> None:
        """Set new widths after some columns got other references, or were appended; only their waiting sums are dropped.

        Args:
            rollup_widths: of all columns, shape (F,).
            anew: which columns have other references, shape (F,).
            before: the references so far.
            after: the references from now on.
        """
        kept = ~anew[: len(before.names)]
        groups, sums = self.groups, (self.waiting, self.latest)
        self.set(rollup_widths)
        self.groups[~anew] = groups[kept]
        # Cells are in order of columns, and a reference that stays has as many cells as before.
        cells, kept_cells = ~anew[after.owner], kept[before.owner]
        self.waiting, self.latest = (
            None if one is None else _moved(one, (kept, kept_cells), empty(after), (~anew, cells)) for one in sums
        )

    def add(self, place: int, now: WindowSums, matrix: ReferenceMatrix) -> Iterator[Wide]:
        """Add the sums of a bucket, which come in order of time, and yield the windows that can be judged."""
        narrow = np.asarray(self.rollup_widths == 1)
        yield Wide(place, 1, now, narrow)
        if narrow.all():
            return
        if self.waiting is None:
            self.waiting = empty(matrix)
        groups = place // self.rollup_widths
        yield from self._groups(~narrow & (self.groups >= 0) & (self.groups != groups), matrix)
        anew = self.groups != groups
        self.waiting.sums[:, anew] = 0.0
        self.waiting.bins[:, anew] = 0.0
        self.waiting.cells[anew[matrix.owner]] = 0.0
        self.waiting.add(now)
        full = ~narrow & (place % self.rollup_widths == self.rollup_widths - 1)
        self.groups = np.where(narrow, -1.0, groups)
        yield from self._groups(full, matrix)
        self.groups[full] = -1.0

    def _groups(self, columns: Flags, matrix: ReferenceMatrix) -> Iterator[Wide]:
        for rollup_width in np.unique(self.rollup_widths[columns]).tolist():
            for group in np.unique(self.groups[columns & (self.rollup_widths == rollup_width)]).tolist():
                complete = columns & (self.rollup_widths == rollup_width) & (self.groups == group)
                if self.waiting is not None:
                    self._remember(self.waiting, complete, matrix)
                    yield Wide(int(group * rollup_width), int(rollup_width), self.waiting, complete)

    def _remember(self, sums: WindowSums, columns: Flags, matrix: ReferenceMatrix) -> None:
        if self.latest is None:
            self.latest = empty(matrix)
        whole = (columns, columns[matrix.owner])
        _moved(sums, whole, self.latest, whole)

    def standing(self, now: WindowSums, matrix: ReferenceMatrix) -> WindowSums:
        """Return the sums of the latest complete window of each column; for a column of width 1 it is the bucket `now`."""
        wide = np.asarray(self.rollup_widths > 1)
        whole = (wide, wide[matrix.owner])
        return _moved(self.latest or empty(matrix), whole, now.copy(), whole)


def _moved(sums: WindowSums, of: tuple[Flags, Flags], into: WindowSums, to: tuple[Flags, Flags]) -> WindowSums:
    """Copy the columns and cells `of` of `sums` to the columns and cells `to` of `into`, and return `into`.

    Args:
        sums: source of the copy.
        of: (columns, cells) of the source, as flags.
        into: target of the copy; it is changed.
        to: (columns, cells) of the target, as flags.
    """
    into.sums[:, to[0]] = sums.sums[:, of[0]]
    into.bins[:, to[0]] = sums.bins[:, of[0]]
    into.cells[to[1]] = sums.cells[of[1]]
    return into
