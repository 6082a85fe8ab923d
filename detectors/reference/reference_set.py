"""A reference set: references of one model that were learned beforehand, from a file or a time range of the history.

Rules:
1. A set never changes; its version is a hash of its content, so two sets of the same version are equal.
2. A judge changes the baselines that it takes over (a baseline remembers the last window), so every judge gets a copy.
"""

from __future__ import annotations

import copy

import msgspec

from detectors.reference.learned import FeatureBaseline
from detectors.reference.reference_head import ReferenceHead
from detectors.windows.record import Kind


class SegmentReference(msgspec.Struct, frozen=True):
    """The references of one segment.

    Args:
        windows: number of windows from which they were learned.
        since: begin of the first window, epoch seconds; `until` is the end of the last.
        learned: feature -> reference and baselines.
    """

    windows: int
    since: float
    until: float
    learned: dict[str, FeatureBaseline]


class ReferenceSet(msgspec.Struct, frozen=True, eq=False):
    """The references of one model.

    Args:
        head: what they were learned from, and by which program.
        segments: kind of windows -> segment -> its references.
    """

    head: ReferenceHead
    segments: dict[Kind, dict[str, SegmentReference]]

    @property
    def version(self) -> str:
        """Hash of the content."""
        return self.head.version

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.head.model

    def __eq__(self, other: object) -> bool:
        """Return whether both sets have the same version."""
        return isinstance(other, ReferenceSet) and self.version == other.version

    def __hash__(self) -> int:
        """Return the hash of the version."""
        return hash(self.version)

    def learned(self, kind: Kind) -> dict[str, dict[str, FeatureBaseline]]:
        """Return segment -> feature -> reference and baselines, as a copy (rule 2)."""
        return {segment: copy.deepcopy(found.learned) for segment, found in self.segments.get(kind, {}).items()}

    @property
    def since(self) -> float:
        """Begin of the first window from which the set was learned, epoch seconds."""
        return min(found.since for segments in self.segments.values() for found in segments.values())

    @property
    def until(self) -> float:
        """End of the last window, epoch seconds."""
        return max(found.until for segments in self.segments.values() for found in segments.values())
