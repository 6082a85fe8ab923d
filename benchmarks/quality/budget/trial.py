"""One monitored model: events become windows, windows are judged, and alerts are kept.

Rules:
1. The product's own code all the way: `summarise_rows` makes the windows, `ModelMonitor.add` judges them. Defaults everywhere
   but for the number of features that may be monitored.
2. What is timed is `ModelMonitor.add` of windows behind the reference: CPU time of the process, so that what else runs
   matters little.
3. Memory is bounded: events are drawn for a few windows at a time.
4. Nobody answers: there is no swap, and an incident is open until its features are back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.budget.kinds import Alter, EventStream
from detectors.arrays import Floats
from detectors.errors import DriftlineError
from detectors.incidents.alert import Alert
from detectors.judging.verdict import Verdict
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.local_time import DAY_SECONDS, WEEK_SECONDS
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.feature import Feature
from detectors.windows.record import Mark, Window
from detectors.windows.sample import summarise, summarise_rows

#: A window and a day begin here.
BEGIN = 19_676 * DAY_SECONDS
#: Drawn at a time: events of all features together, and windows, so that small trials show their progress too.
_CHUNK_EVENTS, _CHUNK_WINDOWS = 2_000_000, 120


@dataclass(frozen=True, slots=True)
class Size:
    """How large a trial is: features of the model, weeks that are counted, event time of the reference."""

    features: int
    weeks: float
    reference_seconds: float = ReferenceSpec().seconds

    @property
    def spec(self) -> ModelSpec:
        """The model: defaults, and room for all features."""
        return ModelSpec("budget", max_features=self.features, reference=ReferenceSpec(seconds=self.reference_seconds))

    @property
    def counted_from(self) -> float:
        """Event time from which on windows are judged, epoch seconds."""
        return BEGIN + self.reference_seconds

    @property
    def week_seconds(self) -> float:
        """How long is counted."""
        return self.weeks * WEEK_SECONDS


class BudgetTrial:
    """A model and its alerts; `cpu_seconds` were needed to judge `judged` windows of single features."""

    def __init__(self, spec: ModelSpec, features: int) -> None:
        self._spec = spec
        self._names = [f"f{number}" for number in range(features)]
        self._watch = ModelMonitor.begin(spec)
        self._windows = 0
        self.alerts: list[Alert] = []
        self.cpu_seconds = 0.0
        self.judged = 0

    def run(
        self,
        stream: EventStream,
        *,
        until: float,
        alter: Alter | None = None,
        tick: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Take the stream up to an event time; `tick` gets the share that is done, now and then."""
        width = round(self._spec.window_seconds)
        left = total = round((until - BEGIN) / width) - self._windows
        most = max(1, min(_CHUNK_WINDOWS, _CHUNK_EVENTS // (width * len(self._names))))
        while left > 0:
            windows = min(left, most)
            values = stream.draw(windows * width, alter)
            for low in range(0, windows * width, width):
                self._take(values[:, low : low + width])
            left -= windows
            tick(1.0 - left / total)
        if self._watch.learning:
            raise DriftlineError(f"no reference by {until:.0f}: the run measures nothing")

    def _take(self, values: Floats) -> None:
        """Judge one window, its values of shape (features, events)."""
        spec, n = self._spec, values.shape[1]
        start = BEGIN + self._windows * spec.window_seconds
        first = self._windows * n
        self._windows += 1
        features = dict(zip(self._names, features_of(values), strict=True))
        window = Window(spec.name, "", "features", 0, start, spec.window_seconds, first, first + n - 1, n, features)
        mark = Mark(spec.name, "features", 0, 1, window.end)
        counted = not self._watch.learning
        began = time.process_time()
        self._watch.add(window)
        found = self._watch.add(mark)
        if counted:
            self.cpu_seconds += time.process_time() - began
            self.judged += len(self._names)
        self.alerts += [finding for finding in found if isinstance(finding, Alert)]

    @property
    def opened(self) -> list[Alert]:
        """The notifications: alerts that opened an incident, in order."""
        return [alert for alert in self.alerts if alert.status == "opened"]

    @property
    def verdicts(self) -> list[Verdict]:
        """Every verdict that an alert brought for the first time, in order: a later alert of an incident repeats it."""
        alerts = [alert for alert in self.alerts if alert.status != "resolved"]
        return list(
            {
                (alert.incident, verdict.feature, verdict.statistic, verdict.at): verdict
                for alert in alerts
                for verdict in alert.features
            }.values()
        )

    @property
    def per_second(self) -> float:
        """Windows of single features judged in a second of CPU time."""
        return self.judged / max(self.cpu_seconds, 1e-9)


def features_of(values: Floats) -> list[Feature]:
    """Return the summary of each row of values, shape (features, events); NaN is a null.

    >>> [(one.missing, one.numeric.n) for one in features_of(np.array([[1.0, 2.0], [np.nan, 3.0]])) if one.numeric]
    [(0, 2), (1, 1)]
    """
    nulls = np.isnan(values)
    holes = set(np.flatnonzero(nulls.any(axis=1)).tolist())
    if not holes:
        return [Feature(0, numeric) for numeric in summarise_rows(values)]
    whole = [row for row in range(len(values)) if row not in holes]
    found = {row: Feature(0, numeric) for row, numeric in zip(whole, summarise_rows(values[whole]) if whole else (), strict=True)}
    for row in holes:
        seen = values[row, ~nulls[row]]
        found[row] = Feature(int(nulls[row].sum()), summarise(seen) if len(seen) else None)
    return [found[row] for row in range(len(values))]
