"""The product's judge over rows that have a place and no time: what several benchmarks of detection feed it.

Rules:
1. Rows become windows, windows are judged, an alarm is an alert that opens an incident: the product alone.
2. The defaults, with the shortest reference there can be: 24 windows. How many rows a window holds is the benchmark's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.quality.seasonal import promoted
from detectors.incidents.alert import Alert
from detectors.incidents.decision import Decision
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.record import Kind, WindowShape
from detectors.windows.row import Row
from detectors.windows.windows import Windows

#: Event time of row 0, at which an hour begins.
BEGIN = 1_700_002_800.0
REFERENCE_WINDOWS = 24


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm, in rows: where it dates the change, and how many rows had been read when it was raised."""

    dated: int
    raised: int


class PacedMonitor:
    """The product's judge of one kind of rows, which come at an even pace."""

    def __init__(self, kind: Kind, per_window: int, budget: float, *, window_seconds: float = 60.0) -> None:
        reference = ReferenceSpec(window_seconds * REFERENCE_WINDOWS, REFERENCE_WINDOWS)
        self._spec = ModelSpec("m", false_alarms_per_week=budget, window_seconds=window_seconds, reference=reference)
        self._kind = kind
        self._per_window = per_window
        self._step = window_seconds / per_window
        self._monitor = ModelMonitor.begin(self._spec)
        self._windows = Windows(kind, source=0, sources=1, shapes={"m": WindowShape(window_seconds, 0.0)})
        #: Rows that close no window; they are handed on with the next one that may.
        self._waiting: list[Row] = []

    def add(self, row: int, values: Mapping[str, float] | None) -> Iterator[tuple[Alarm, Alert]]:
        """Take a row of that number, None for the end, and yield the alarms that follow."""
        self._waiting.append(Row(row, "m", BEGIN + row * self._step, "", values))
        if values is not None and row % self._per_window:
            return
        waiting, self._waiting = self._waiting, []
        for record in self._windows.add_rows(waiting).records:
            for found in self._monitor.add(record):
                if isinstance(found, Alert) and found.status == "opened":
                    yield Alarm(self._row(found.began_at), self._row(found.raised_at)), found

    def _row(self, at: float) -> int:
        return round((at - BEGIN) / self._step)

    def swap(self, alert: Alert) -> None:
        """Answer an alarm with a promoted swap: what drifted has a new reference from then on."""
        self._monitor.add(promoted(alert))

    def renew(self, row: int) -> None:
        """Take a swap that no alarm asked for, at that row: everything has a new reference from then on."""
        judges = self._monitor.channels[self._kind].judges.values()
        features = sorted({feature for judge in judges for feature in judge.references})
        self._monitor.add(Decision(f"swap at {row}", "m", "", "promoted", 2, features))
