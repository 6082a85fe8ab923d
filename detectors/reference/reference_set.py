"""A document: references of one model that were learned beforehand, from a file or a stretch of history.

Rules:
1. A document never changes; its version is a hash of its content, so two of one version are one.
2. A judge moves what it takes over (a baseline remembers the last window), so everybody gets a copy.
"""

from __future__ import annotations

import copy

import msgspec

from detectors.reference.learned import FeatureBaseline
from detectors.windows.record import Kind


class SegmentReference(msgspec.Struct, frozen=True):
    """What one segment looked like while all was well.

    Args:
        windows: how many it was learned from.
        since: begin of the first of them, epoch seconds; `until` the end of the last.
        learned: feature -> reference and baselines.
    """

    windows: int
    since: float
    until: float
    learned: dict[str, FeatureBaseline]


class ReferenceSet(msgspec.Struct, frozen=True, eq=False):
    """The references of one model.

    Args:
        version: hash of the rest; empty while it is being made.
        model: name of the model.
        window_seconds: width of the windows of features that it was learned from.
        outcome_window_seconds: the same of outcomes.
        timezone: of its seasons; `holidays` their calendar.
        features: that the configuration watched; empty for all that appeared.
        categorical: features that were categories although they look like numbers.
        driftline: version of Driftline that learned it; `river` of River.
        segments: kind of windows -> segment -> what it looked like.
    """

    version: str
    model: str
    window_seconds: float
    outcome_window_seconds: float
    timezone: str
    holidays: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    driftline: str
    river: str
    segments: dict[Kind, dict[str, SegmentReference]]

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same document."""
        return isinstance(other, ReferenceSet) and self.version == other.version

    def __hash__(self) -> int:
        """Return the hash of the version."""
        return hash(self.version)

    def learned(self, kind: Kind) -> dict[str, dict[str, FeatureBaseline]]:
        """Return segment -> feature -> reference and baselines, for the taker to keep (rule 2)."""
        return {segment: copy.deepcopy(found.learned) for segment, found in self.segments.get(kind, {}).items()}

    @property
    def since(self) -> float:
        """Begin of the first window that it was learned from, epoch seconds."""
        return min(found.since for segments in self.segments.values() for found in segments.values())

    @property
    def until(self) -> float:
        """End of the last one."""
        return max(found.until for segments in self.segments.values() for found in segments.values())
