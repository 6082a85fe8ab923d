"""Start offsets: where an agent begins to read a partition, and what happens when records are missing there.

Rules:
1. Reading begins at the committed offset; without one, where the log begins.
2. Records that retention removed before they were read are lost. Reading goes on where the log begins;
   the number of lost records is logged and counted.
3. A committed offset beyond the end of a log, or a partition that was added since the worker started, makes
   every other offset doubtful too: the worker stops.
"""

from __future__ import annotations

import logging

from detectors.errors import StateError
from streams.engine.transport import LogState
from streams.metrics import Metrics

_LOG = logging.getLogger("driftline.worker")


def resumed(log: LogState) -> int:
    """Return the committed offset, moved into the log; where the log begins, if nothing was committed.

    >>> resumed(LogState(None, 3, 9)), resumed(LogState(5, 3, 9)), resumed(LogState(1, 3, 9)), resumed(LogState(20, 3, 9))
    (3, 5, 3, 9)
    """
    return log.first if log.committed is None else max(log.first, min(log.committed, log.end))


class Beginnings:
    """Start offsets of the sources: the partitions of events and of outcomes."""

    def __init__(self, metrics: Metrics, sources: int) -> None:
        """Take the number of partitions that each of the two topics had when the process started."""
        self._metrics = metrics
        self._sources = sources
        #: Losses that were logged, so that a rewind logs none of them twice.
        self._logged: set[tuple[str, int, int]] = set()

    def of(self, topic: str, partition: int, log: LogState) -> int:
        """Return the offset to read a source from.

        Raises:
            StateError: the log ends before the committed offset, or has a partition too many.
        """
        if partition >= self._sources:
            raise StateError(
                f"topic {topic} has a partition {partition}, and had {self._sources} when this worker started: start it "
                "again, and it will say what follows"
            )
        committed = log.first if log.committed is None else log.committed
        if committed > log.end:
            raise StateError(
                f"{topic}/{partition} was read up to offset {committed}, but ends at {log.end}: it was created again, or "
                "the broker lost its end; stop the workers and `driftline rebuild --from events`, which makes everything again "
                "from what is left"
            )
        lost = log.first - committed
        if lost > 0 and (topic, partition, committed) not in self._logged:
            self._logged.add((topic, partition, committed))
            self._metrics.count("driftline_records_lost_total", lost, topic=topic)
            _LOG.error(
                "%s/%d was to be read from offset %d, but begins at %d: retention removed %d records before they were in a "
                "closed window; raise retention.ms, or add workers",
                *(topic, partition, committed, log.first, lost),
            )
        return max(log.first, committed)
