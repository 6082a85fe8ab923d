"""The two kinds of windows as a table: what differs between judging features and judging outcomes.

Everything else about judging is the same for both, so no other file of the core asks which kind it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detectors.judging.detectors import Direction
from detectors.spec import ModelSpec
from detectors.statistics import STATISTICS, StatisticName
from detectors.windows.record import Kind
from detectors.windows.row import ERROR, PREDICTION


@dataclass(frozen=True, slots=True)
class KindRules:
    """A row of the table.

    Args:
        detector: specification -> name of the detector (detectors/judging/detectors.py).
        direction: of the detectors; `up` alarms on rises only, whatever the statistic.
        share: part of the model's false-alarm budget, 0 to 1. It is fixed, although there are far more monitors of features:
            the thresholds of one kind must not depend on when the other has learned its reference (detectors/model/channel.py).
        statistics: those that are watched.
        only: the features that are judged; None for all that a window has.
        selectable: whether `features` and `volume` of the specification choose what is judged.
        renewed: features that get a new reference after every swap, because the model puts them out.
        published: whether references go to the stage that looks for outliers.
    """

    detector: Callable[[ModelSpec], str]
    direction: Direction
    share: float
    statistics: frozenset[StatisticName]
    only: frozenset[str] | None
    selectable: bool
    renewed: frozenset[str]
    published: bool

    def judges(self, feature: str) -> bool:
        """Tell whether a feature of such windows is judged at all."""
        return self.only is None or feature in self.only


#: Kind of windows -> its rules, in the order in which the windows of one row are judged.
KIND_RULES: Mapping[Kind, KindRules] = {
    "features": KindRules(
        detector=lambda spec: spec.detector,
        direction="both",
        share=0.9,
        statistics=frozenset(STATISTICS),
        only=None,
        selectable=True,
        renewed=frozenset(PREDICTION),
        published=True,
    ),
    "outcomes": KindRules(
        detector=lambda spec: spec.outcomes.detector,
        direction="up",
        share=0.1,
        statistics=frozenset({"location"}),
        only=frozenset({ERROR}),
        selectable=False,
        renewed=frozenset({ERROR}),
        published=False,
    ),
}
