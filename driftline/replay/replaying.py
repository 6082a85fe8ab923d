"""Replaying: stretches of rows, or records of the windows topic -> what the judge finds, as the bytes of its topics.

Rules:
1. Rows become the bytes of the windows topic first, and only these are judged: replay from rows, from a file of
   windows and from the topic are one code, and the judge's is the workers'.
2. Findings come in the order of the rows that caused them, features before outcomes. How the file was cut into
   stretches changes nothing.
3. The end of the file closes all windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from detectors.errors import EventError
from detectors.incidents.alert import Alert, Status
from detectors.incidents.retrain import Request
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, shapes_of, width
from detectors.windows.record import Kind, Mark, Window
from driftline.readers.stretch import LabelCount, RowFault, Stretch
from driftline.replay.lane import ReplayLane
from streams.records import window_codec

__all__ = ["KINDS", "ModelTally", "Replaying"]

#: Both kinds, in the order in which one row's windows are judged.
KINDS: tuple[Kind, ...] = ("features", "outcomes")
#: Faults of which line and detail are kept.
_FAULTS_KEPT = 5


@dataclass(slots=True)
class ModelTally:
    """What became of one model; times are epoch seconds.

    Args:
        rows: in windows of features, and late ones.
        late: rows and outcomes that came after their window was closed.
        first: begin of the first window, `last` the end of the last.
        judged: windows judged, those that were learned from among them.
        other_widths: width of windows in seconds that the configuration does not have -> how many.
        alerts: by status.
        requests: to retrain.
        judged_from: event time from which something was judged, -inf for the first window, None if nothing was.
        learning: whether some segment still learns its reference at the end.
        waiting: buckets that wait for other sources.
    """

    rows: int = 0
    late: int = 0
    first: float = math.inf
    last: float = -math.inf
    judged: int = 0
    other_widths: dict[float, int] = field(default_factory=dict)
    alerts: dict[Status, int] = field(default_factory=dict)
    requests: int = 0
    judged_from: float | None = None
    learning: bool = True
    waiting: int = 0

    def add(self, spec: ModelSpec, window: Window) -> None:
        """Count a window."""
        if window.kind == "features":
            self.rows += window.n
        self.first, self.last = min(self.first, window.start), max(self.last, window.end)
        if window.seconds != width(spec, window.kind):
            self.other_widths[window.seconds] = self.other_widths.get(window.seconds, 0) + 1

    def note(self, finding: Finding) -> None:
        """Count what followed."""
        if isinstance(finding, Alert):
            self.alerts[finding.status] = self.alerts.get(finding.status, 0) + 1
        elif isinstance(finding, Request):
            self.requests += 1
        elif self.judged_from is None:
            self.judged_from = finding.at


class Replaying:
    """All models of a file."""

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        *,
        keep: Callable[[bytes], None] | None = None,
        since: float = -math.inf,
        until: float = math.inf,
    ) -> None:
        """Begin with nothing seen.

        Args:
            models: the configured ones by name.
            keep: takes the records of the windows topic, in the order in which they are judged.
            since: windows that begin before it are left out, epoch seconds.
            until: windows that end after it are left out, epoch seconds.
        """
        self._models = models
        self._keep = keep
        self._since, self._until = since, until
        self._shapes = {kind: shapes_of(models, kind) for kind in KINDS}
        self._lanes: dict[tuple[str, Kind], ReplayLane] = {}
        self._watches: dict[str, ModelMonitor] = {}
        self._tallies: dict[str, ModelTally] = {}
        self._rows = 0
        self._end = 0
        #: Reason -> rows that could not be used, and the first of them.
        self.faults: dict[str, int] = {}
        self.first_faults: list[RowFault] = []
        #: Model -> what became of its labels, where they are events of their own.
        self.labels: Mapping[str, LabelCount] = {}

    @property
    def rows(self) -> int:
        """Rows or records read, whether they could be used or not."""
        return self._rows

    def add(self, stretch: Stretch) -> Iterator[Alert | Request]:
        """Take the next rows and yield what follows from them."""
        self._rows += stretch.rows
        self.labels = stretch.labels
        for fault in stretch.faults:
            self._note_fault(fault)
        found: list[tuple[int, int, Window | Mark]] = []
        for number, (kind, blocks) in enumerate(zip(KINDS, (stretch.blocks, stretch.outcomes), strict=True)):
            for block in blocks:
                self._end = max(self._end, int(block.offsets[-1]) + 1)
                found.extend((offset, number, record) for offset, record in self._lane(block.model, kind).add(block))
        # What one row closed keeps its order.
        found.sort(key=lambda item: item[:2])
        return self._judge(record for _, _, record in found)

    def end(self) -> Iterator[Alert | Request]:
        """Close what is open and yield what follows from that; nothing can be taken afterwards."""
        order = sorted(self._lanes, key=lambda key: (KINDS.index(key[1]), key[0]))
        return self._judge([record for key in order for _, record in self._lanes[key].end(self._end)])

    def _lane(self, model: str, kind: Kind) -> ReplayLane:
        lane = self._lanes.get((model, kind))
        if lane is None:
            lane = self._lanes[model, kind] = ReplayLane(model, kind, self._shapes[kind][model])
        return lane

    def _judge(self, records: Iterable[Window | Mark]) -> Iterator[Alert | Request]:
        for record in records:
            yield from self._judge_bytes(window_codec.encode(record))

    def record(self, value: bytes, *, only: str | None = None) -> Iterator[Alert | Request]:
        """Take the next record of a windows topic and yield what follows from it, if it is of that model or any is meant."""
        self._rows += 1
        return self._judge_bytes(value, only)

    def _judge_bytes(self, value: bytes, only: str | None = None) -> Iterator[Alert | Request]:
        try:
            record = window_codec.parse(value)
        except EventError as error:
            self._note_fault(RowFault(self._rows, error.reason, str(error)))
            return
        spec = self._models.get(record.model)
        if spec is None or only not in (None, spec.name):
            return
        if isinstance(record, Window) and not (self._since <= record.start and record.end <= self._until):
            return
        if self._keep is not None:
            self._keep(value)
        tally = self._tallies.setdefault(spec.name, ModelTally())
        monitor = self._watches.get(spec.name)
        if monitor is None:
            monitor = self._watches[spec.name] = ModelMonitor.begin(spec)
            if monitor.learned():
                tally.judged_from = -math.inf
        if isinstance(record, Window):
            tally.add(spec, record)
        for finding in monitor.add(record):
            tally.note(finding)
            if not isinstance(finding, ReferenceLearned):
                yield finding

    def _note_fault(self, fault: RowFault) -> None:
        self.faults[fault.reason] = self.faults.get(fault.reason, 0) + 1
        if len(self.first_faults) < _FAULTS_KEPT:
            self.first_faults.append(fault)

    def monitor(self, model: str) -> ModelMonitor | None:
        """Return what is known of a model by now, None if nothing of it came."""
        return self._watches.get(model)

    def late(self, model: str) -> dict[Kind, int]:
        """Return kind -> rows that came after their window was closed."""
        return {kind: lane.late for (of, kind), lane in self._lanes.items() if of == model}

    def tallies(self) -> dict[str, ModelTally]:
        """Return model -> what became of it so far, for the models that came."""
        for model, tally in self._tallies.items():
            late = sum(self.late(model).values())
            monitor = self._watches[model]
            tally.rows, tally.late = tally.rows + late - tally.late, late
            tally.judged = sum(aligner.judged for aligner in monitor.aligners.values())
            tally.waiting = sum(len(aligner.parts) for aligner in monitor.aligners.values())
            tally.learning = monitor.learning
        return dict(sorted(self._tallies.items()))
