"""Collects windows until a reference and its baselines can be learned from them.

Rules:
1. Memory is bounded: beyond `_MOST_WINDOWS` windows, or `_MOST_BYTES` of samples, every second block of 16 consecutive ones is
   dropped, so neighbours (autocorrelation) and times of day (season) both survive the thinning.
2. A window without a feature says that it was missing in all rows: that is how it is judged later.
3. A category seen in one window alone counts as unseen there (Good and Turing), because out of the
   reference so many new ones are to be expected.
4. Rows are counted bucket by bucket, silent ones included, apart from the windows: `volume` is learned from these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from detectors.columns import Feature
from detectors.learned import Learned, learn_features, learn_volume
from detectors.row import VOLUME
from detectors.window import Window

_MOST_WINDOWS = 512
_BLOCK = 16
#: Bytes of samples held, from which windows are thinned too, down to a few blocks.
_MOST_BYTES = 64 << 20
#: Buckets whose rows are counted; beyond, every second block is dropped.
_MOST_BUCKETS = 4096


class Collected(msgspec.Struct, frozen=True):
    """One window: its first second, how many rows it had, and the features of each of its parts."""

    start: float
    rows: int
    parts: list[dict[str, Feature]]


class Learner(msgspec.Struct):
    """The windows collected so far, `seen` before thinning; `features` None takes every feature."""

    window_seconds: float
    features: list[str] | None = None
    windows: list[Collected] = []
    stride: int = 1
    seen: int = 0
    held_bytes: int = 0
    since: float | None = None
    until: float = 0.0
    #: First second of a bucket -> its rows, of those that had any; every `row_stride`th block.
    rows: dict[float, int] = {}
    row_stride: int = 1

    def add(self, start: float, parts: Sequence[Window]) -> None:
        """Take the parts of one bucket; buckets come in order of time."""
        self.seen += 1
        if self.since is None:
            self.since = start
        self.until = start + self.window_seconds
        rows = sum(part.n for part in parts)
        self._count(start, rows)
        if self._block(start) % self.stride or self.features == [VOLUME]:
            return
        kept = [self._kept(part.features) for part in parts]
        self.windows.append(Collected(start, rows, kept))
        self.held_bytes += _bytes(kept)
        if len(self.windows) > _MOST_WINDOWS or (self.held_bytes > _MOST_BYTES and len(self.windows) > 4 * _BLOCK):
            self.stride *= 2
            self.windows = [window for window in self.windows if self._block(window.start) % self.stride == 0]
            self.held_bytes = sum(_bytes(window.parts) for window in self.windows)

    def _kept(self, features: dict[str, Feature]) -> dict[str, Feature]:
        return features if self.features is None else {name: features[name] for name in self.features if name in features}

    def _count(self, start: float, rows: int) -> None:
        if self._block(start) % self.row_stride == 0:
            self.rows[start] = rows
        if (self.until - (self.since or 0.0)) / self.window_seconds / self.row_stride > _MOST_BUCKETS:
            self.row_stride *= 2
            self.rows = {at: count for at, count in self.rows.items() if self._block(at) % self.row_stride == 0}

    def _block(self, start: float) -> int:
        return round(start / self.window_seconds) // _BLOCK

    def ready(self, *, seconds: float, min_windows: int) -> bool:
        """Tell whether enough event time and enough windows have been seen."""
        return self.since is not None and self.until - self.since >= seconds and self.seen >= min_windows

    def learn(self, *, timezone: str, outlier_beyond: float, holidays: str = "") -> dict[str, Learned]:
        """Return feature -> reference and baselines; features asked for by name are there even if never seen."""
        names = {name for window in self.windows for part in window.parts for name in part}.union(self.features or ())
        seconds = self.until - (self.since or 0.0)
        found = learn_features(
            [(window.start, window.rows, window.parts) for window in self.windows],
            sorted(names - {VOLUME}),
            window_seconds=self.window_seconds,
            reference_seconds=seconds,
            timezone=timezone,
            holidays=holidays,
            outlier_beyond=outlier_beyond,
        )
        if self.features is None or VOLUME in self.features:
            volume = learn_volume(
                self._buckets(), self.window_seconds, reference_seconds=seconds, timezone=timezone, holidays=holidays
            )
            found |= {} if volume is None else {VOLUME: volume}
        return found

    def _buckets(self) -> list[tuple[float, int]]:
        """Return (first second, rows) of each bucket that was counted, silent ones with no rows."""
        if self.since is None:
            return []
        first, end = round(self.since / self.window_seconds), math.ceil(self.until / self.window_seconds - 0.5)
        starts = (
            place * self.window_seconds
            for block in range(first // _BLOCK, end // _BLOCK + 1)
            if block % self.row_stride == 0
            for place in range(max(first, block * _BLOCK), min(end, (block + 1) * _BLOCK))
        )
        return [(start, self.rows.get(start, 0)) for start in starts]


def _bytes(parts: Sequence[dict[str, Feature]]) -> int:
    return sum(
        len(feature.numeric.points) + len(feature.numeric.counts)
        for part in parts
        for feature in part.values()
        if feature.numeric is not None
    )
