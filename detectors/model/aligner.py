"""The aligner of one kind of windows of a model: parts of a bucket wait until the marks of all sources have passed it."""

from __future__ import annotations

import math

import msgspec

from detectors.windows.record import Mark, Window


class WindowAligner(msgspec.Struct):
    """Parts of buckets that are not complete yet. Times are epoch seconds of event time.

    Args:
        until: source partition -> end of its last mark.
        sources: how many source partitions there are.
        parts: start of bucket -> segment -> source -> part that waits.
        judged: windows judged so far.
        reached: time up to which buckets have been judged.
        late: rows of parts that came after their bucket was judged.
    """

    until: dict[int, float] = {}
    sources: int = 0
    parts: dict[float, dict[str, dict[int, Window]]] = {}
    judged: int = 0
    reached: float = -math.inf
    late: int = 0

    def add(self, window: Window) -> None:
        """Let a part wait for the others of its bucket; a repeat is ignored, and a late part is counted."""
        if window.end <= self.until.get(window.source, float("-inf")):
            return
        if window.end <= self.reached:
            self.late += window.n
            return
        self.parts.setdefault(window.start, {}).setdefault(window.segment, {}).setdefault(window.source, window)

    def advance(self, mark: Mark) -> list[tuple[float, dict[str, list[Window]]]]:
        """Take a mark and return the buckets that it completes, in order: (start, segment -> parts by source)."""
        self.sources = mark.sources
        if mark.until > self.until.get(mark.source, float("-inf")):
            self.until[mark.source] = mark.until
        complete = self.complete()
        self.reached = max(self.reached, complete)
        ready: list[tuple[float, dict[str, list[Window]]]] = []
        for start in sorted(self.parts):
            segments = self.parts[start]
            if next(iter(next(iter(segments.values())).values())).end > complete:
                break
            ready.append((start, {name: [part for _, part in sorted(segments[name].items())] for name in sorted(segments)}))
            del self.parts[start]
        return ready

    def keep(self, seconds: float) -> None:
        """Drop the parts of any other width, in seconds: they were written before the configuration changed."""
        for start in list(self.parts):
            if any(part.seconds != seconds for parts in self.parts[start].values() for part in parts.values()):
                del self.parts[start]

    def complete(self) -> float:
        """Return the event time that all sources have reached, -inf before the first mark of each.

        Sources that no longer exist, because the topic was made again with fewer partitions, are not waited for.
        """
        return min((self.until.get(source, -math.inf) for source in range(self.sources)), default=-math.inf)

    def behind(self) -> dict[int, float]:
        """Return the sources that the others wait for: number -> event time that the furthest source has reached."""
        if not self.until:
            return {}
        furthest = max(self.until.values())
        return {source: furthest for source in range(self.sources) if self.until.get(source, float("-inf")) < furthest}
