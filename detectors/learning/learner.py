"""Collects windows until references and their baselines can be learned from them.

Rules:
1. Memory is bounded. Beyond `_MOST_WINDOWS` windows or some bytes of samples, every second block of 16 consecutive windows is
   dropped. So neighbours (autocorrelation) and times of day (season) both survive (detectors/learning/recording.py).
2. If that happens, or would happen after the first third of the reference, the references are learned from the samples so far
   (for a reference of three days, from a day at least). Of later windows only their statistics are kept, a tenth of the bytes.
   The same holds for features that are learned apart, with fewer windows, so that their season is that of a first reference.
3. If a window lacks a feature, the feature was missing in all its rows: judging counts it in the same way.
4. A category of a single window counts as unseen there (Good and Turing), because as many new categories are to be
   expected after the reference.
5. Rows are counted bucket by bucket, silent buckets included, separately from the windows. `volume` is learned from these counts,
   if the reference covers a week. A shorter reference would take the first weekend for a change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from detectors.identity import seed
from detectors.learning.fit_volume import learn_volume
from detectors.learning.recording import BLOCK, Recording, turn_of
from detectors.learning.rollup_width import rollup_widths_of
from detectors.reference.feature_reference import learn_reference
from detectors.reference.learned import Calendar, FeatureBaseline
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec
from detectors.windows.feature import Feature
from detectors.windows.record import Window
from detectors.windows.row import VOLUME

_MOST_WINDOWS, _MOST_WINDOWS_APART = 4096, 1024
#: Bytes of a category in addition to its name.
_CATEGORY_BYTES = 16
#: Most bytes of samples: of all features, and of a feature that is learned apart. A few blocks of windows are always kept.
_MOST_BYTES, _MOST_BYTES_APART = 64 << 20, 2 << 20
#: Most bytes of statistics; for a feature that is learned apart, these are those of 8,000 windows at least.
_MOST_MEASURES, _MOST_MEASURES_APART = 64 << 20, 192 << 10
#: Most buckets with a count of rows; beyond, every second block is dropped.
_MOST_BUCKETS = 8192
#: Share of the reference's time after which its samples suffice.
_SAMPLED = 1 / 3
#: Features relearned together are staggered by up to this share, so that not all are fitted in one bucket.
_SAMPLED_APART = 0.03


class Collected(msgspec.Struct, frozen=True):
    """One window: its first second, its number of rows, and the features of each of its parts."""

    start: float
    rows: int
    parts: list[dict[str, Feature]]


class Learner(msgspec.Struct):
    """The windows collected so far; `seen` counts them before thinning.

    If `features` is None, every feature is learned. Every `every`-th block of neighbouring windows is kept.
    """

    window_seconds: float
    features: list[str] | None = None
    windows: list[Collected] = []
    every: int = 1
    seen: int = 0
    held_bytes: int = 0
    since: float | None = None
    until: float = 0.0
    #: First second of a bucket -> its rows, for buckets with rows, in every `row_every`-th block.
    rows: dict[float, int] = {}
    row_every: int = 1
    #: Statistics of windows, since there were too many samples; None before. After that, `windows` wait to be measured.
    recording: Recording | None = None

    def bind(self, spec: ModelSpec) -> None:
        """Measure by this specification from now on, after a load from a snapshot."""
        if self.recording is not None:
            self.recording.bind(spec.outliers.distance)

    def add(self, spec: ModelSpec, start: float, parts: Sequence[Window]) -> None:
        """Take the parts of one bucket; buckets come in order of time."""
        self.seen += 1
        if self.since is None:
            self.since = start
        self.until = start + self.window_seconds
        rows = sum(part.n for part in parts)
        self._count(start, rows)
        if self.features == [VOLUME] or (self.recording is None and self._turn(start) % self.every):
            return
        kept = [self._kept(part.features) for part in parts]
        self.windows.append(Collected(start, rows, kept))
        if self.recording is not None:
            if self.features is None or len(self.windows) == BLOCK:
                self._measure(self.recording)
            return
        self.held_bytes += _bytes(kept)
        too_many = self._too_many()
        if (too_many or self.every > 1) and self.until - self.since >= self._sampled() * spec.reference.seconds:
            self.recording = self._record(spec)
            self.windows, self.held_bytes = [], 0
        elif too_many:
            self.every *= 2
            self.windows = [window for window in self.windows if self._turn(window.start) % self.every == 0]
            self.held_bytes = sum(_bytes(window.parts) for window in self.windows)

    def _too_many(self) -> bool:
        """Return whether the samples exceed their limit.

        Limits of features that are learned apart differ by up to a quarter, or all would be measured in one bucket.
        """
        if self.features is None:
            most, most_windows = _MOST_BYTES, _MOST_WINDOWS
        else:
            share = 1 - self._apart() / 4
            most, most_windows = int(_MOST_BYTES_APART * share), int(_MOST_WINDOWS_APART * share)
        return len(self.windows) > most_windows or (self.held_bytes > most and len(self.windows) > 4 * BLOCK)

    def _sampled(self) -> float:
        """Return the share of the reference's time after which its samples suffice."""
        return _SAMPLED if self.features is None else _SAMPLED + _SAMPLED_APART * self._apart()

    def _apart(self) -> float:
        """Return a number from 0 to 1 that differs from feature to feature."""
        return seed("learner", *(self.features or ())) % 256 / 256

    def _measure(self, recording: Recording) -> None:
        """Measure the windows that wait."""
        waiting = [(window.start, window.rows, window.parts) for window in self.windows]
        recording.add_all(waiting)
        self.windows = []

    def _record(self, spec: ModelSpec) -> Recording:
        """Return a recording: references of the samples so far, and the statistics of their windows."""
        names = {name for window in self.windows for part in window.parts for name in part}.union(self.features or ())
        references = {
            name: learn_reference([[part[name] for part in window.parts if name in part] for window in self.windows])
            for name in sorted(names - {VOLUME})
        }
        samples = [(window.start, window.rows, window.parts) for window in self.windows]
        rollup_widths = rollup_widths_of(samples, references, self.window_seconds)
        most = _MOST_MEASURES if self.features is None else _MOST_MEASURES_APART
        recording = Recording.begin(
            self.window_seconds, references, rollup_widths, outlier_beyond=spec.outliers.distance, most_bytes=most
        )
        recording.extend(samples)
        return recording

    def _kept(self, features: dict[str, Feature]) -> dict[str, Feature]:
        return features if self.features is None else {name: features[name] for name in self.features if name in features}

    def _count(self, start: float, rows: int) -> None:
        if self._turn(start) % self.row_every == 0:
            self.rows[start] = rows
        while (self.until - (self.since or 0.0)) / self.window_seconds / self.row_every > _MOST_BUCKETS:
            self.row_every *= 2
            self.rows = {at: count for at, count in self.rows.items() if self._turn(at) % self.row_every == 0}

    def _turn(self, start: float) -> int:
        return turn_of(round(start / self.window_seconds), self.window_seconds)

    def ready(self, spec: ModelSpec) -> bool:
        """Return whether the windows cover enough event time, and are enough."""
        wanted = spec.reference
        return self.since is not None and self.until - self.since >= wanted.seconds and self.seen >= wanted.min_windows

    def learn(self, spec: ModelSpec) -> dict[str, FeatureBaseline]:
        """Return feature -> reference and baselines; a feature that `features` names is included even if no window had it."""
        seconds = self.until - (self.since or 0.0)
        calendar = Calendar(seconds, spec.timezone, spec.holidays)
        if self.recording is not None and self.windows:
            self._measure(self.recording)
        found = (self.recording or self._record(spec)).learn(calendar)
        watched = seconds >= WEEK_SECONDS if spec.volume is None else spec.volume
        if watched and (self.features is None or VOLUME in self.features):
            volume = learn_volume(self._buckets(), self.window_seconds, calendar)
            found |= {} if volume is None else {VOLUME: volume}
        return found

    def _buckets(self) -> list[tuple[float, int]]:
        """Return (first second, rows) of each bucket that was counted; a silent bucket has 0 rows."""
        if self.since is None:
            return []
        first, end = round(self.since / self.window_seconds), math.ceil(self.until / self.window_seconds - 0.5)
        starts = (
            place * self.window_seconds
            for block in range(first // BLOCK, end // BLOCK + 1)
            if turn_of(block * BLOCK, self.window_seconds) % self.row_every == 0
            for place in range(max(first, block * BLOCK), min(end, (block + 1) * BLOCK))
        )
        return [(start, self.rows.get(start, 0)) for start in starts]


def _bytes(parts: Sequence[dict[str, Feature]]) -> int:
    numbers = sum(
        len(feature.numeric.points) + len(feature.numeric.counts)
        for part in parts
        for feature in part.values()
        if feature.numeric is not None
    )
    return numbers + sum(
        len(name) + _CATEGORY_BYTES for part in parts for feature in part.values() for name in feature.categories
    )
