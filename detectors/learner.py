"""Collects windows until a reference and its baselines can be learned from them.

Rules:
1. Memory is bounded: beyond `_MOST_WINDOWS` windows, or `_MOST_BYTES` of samples, every second block of 16 consecutive ones is
   dropped, so neighbours (autocorrelation) and times of day (season) both survive the thinning.
2. A window without a feature says that it was missing in all rows: that is how it is judged later.
3. A category seen in one window alone counts as unseen there (Good and Turing), because out of the
   reference so many new ones are to be expected.
"""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.baseline import Baseline, learn
from detectors.merge import Pooled, absent
from detectors.reference import FeatureReference, learn_reference
from detectors.season import choose, local_seconds
from detectors.statistic import FLOOR, Measure, StatisticName, measure, names_for

_MOST_WINDOWS = 512
_BLOCK = 16
#: Bytes of samples held, from which windows are thinned too, down to a few blocks.
_MOST_BYTES = 32 << 20
#: A statistic that fewer reference windows spoke of is not watched.
_MIN_MEASURES = 8


class Collected(msgspec.Struct, frozen=True):
    """One window: its first second, how many rows it had, and its features."""

    start: float
    rows: int
    features: dict[str, Pooled]


class Learned(msgspec.Struct, frozen=True):
    """What came of it for one feature."""

    reference: FeatureReference
    baselines: dict[StatisticName, Baseline]


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

    def add(self, start: float, pooled: dict[str, Pooled], *, rows: int) -> None:
        """Take one window of so many rows; windows come in order of time."""
        self.seen += 1
        if self.since is None:
            self.since = start
        self.until = start + self.window_seconds
        if self._block(start) % self.stride:
            return
        kept = pooled if self.features is None else {name: pooled[name] for name in self.features if name in pooled}
        self.windows.append(Collected(start, rows, kept))
        self.held_bytes += sum(part.points.nbytes + part.weights.nbytes for part in kept.values())
        if len(self.windows) > _MOST_WINDOWS or (self.held_bytes > _MOST_BYTES and len(self.windows) > 4 * _BLOCK):
            self.stride *= 2
            self.windows = [window for window in self.windows if self._block(window.start) % self.stride == 0]
            self.held_bytes = sum(
                part.points.nbytes + part.weights.nbytes for window in self.windows for part in window.features.values()
            )

    def _block(self, start: float) -> int:
        return int(start // self.window_seconds) // _BLOCK

    def ready(self, *, seconds: float, min_windows: int) -> bool:
        """Tell whether enough event time and enough windows have been seen."""
        return self.since is not None and self.until - self.since >= seconds and self.seen >= min_windows

    def learn(self, *, timezone: str, outlier_beyond: float) -> dict[str, Learned]:
        """Return feature -> reference and baselines; features asked for by name are there even if never seen."""
        names = sorted({name for window in self.windows for name in window.features}.union(self.features or ()))
        return {name: self._learn(name, timezone, outlier_beyond) for name in names}

    def _learn(self, name: str, timezone: str, outlier_beyond: float) -> Learned:
        windows = [(window.start, window.features.get(name) or absent(window.rows)) for window in self.windows]
        reference = learn_reference([pooled for _, pooled in windows])
        again = {category: count for category, count in reference.known.items() if count > 1}
        without_singles = msgspec.structs.replace(reference, known=again)
        rows: dict[StatisticName, list[tuple[float, Measure]]] = {}
        for start, pooled in windows:
            for statistic, found in measure(pooled, without_singles, outlier_beyond=outlier_beyond).items():
                rows.setdefault(statistic, []).append((start, found))
        baselines: dict[StatisticName, Baseline] = {}
        for statistic in names_for(reference):
            measured = rows.get(statistic, [])
            if len(measured) < _MIN_MEASURES:
                continue
            starts = np.array([start for start, _ in measured])
            local = np.array([local_seconds(start, timezone) for start in starts])
            season = choose(self.window_seconds, self.until - (self.since or 0.0), local)
            baselines[statistic] = learn(
                season,
                self.window_seconds,
                starts=starts,
                local=local,
                values=np.array([found.value for _, found in measured]),
                within=np.array([found.within for _, found in measured]),
                counts=np.array([found.count for _, found in measured]),
                floor=FLOOR,
            )
        return Learned(reference, baselines)
