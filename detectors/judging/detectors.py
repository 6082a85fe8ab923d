"""Detectors by name: River's classes, how each is armed, and what each is fed.

Only `page_hinkley` has a threshold that follows from the false-alarm budget. The others are River's with their defaults. They
are fed the same standard scores (`scores`), or single outcomes, 1 for an error (`outcomes`). They keep no budget, and
`driftline check` says how many false alarms to expect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from river import drift
from river.drift import binary

from detectors.identity import seed
from detectors.judging.budget import ALLOWANCE

Direction = Literal["both", "up"]
Feed = Literal["scores", "outcomes"]


class RiverDetector(Protocol):
    """The interface that River's drift detectors share."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last update raised an alarm."""

    def update(self, x: float) -> None:
        """Take one value."""


class Armed:
    """An armed River detector: a class of our own, so that a snapshot recognises it."""

    __slots__ = ("river",)

    def __init__(self, river: RiverDetector) -> None:
        self.river = river

    def update(self, value: float) -> bool:
        """Take one value and tell whether it raised an alarm."""
        self.river.update(value)
        return self.river.drift_detected


@dataclass(frozen=True, slots=True)
class Arming:
    """What a detector is made from.

    Args:
        name: of the monitor; seeds are derived from it.
        threshold: from the budget, in standard deviations.
        windows: how many reference windows the baseline was learned from.
        direction: `up` for errors: a fall of errors raises no alarm.
    """

    name: str
    threshold: float
    windows: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """A row of the table: how a detector is made, what it is fed, and whether it keeps the false-alarm budget."""

    make: Callable[[Arming], RiverDetector]
    feed: Feed
    budgeted: bool = False


def _page_hinkley(arming: Arming) -> RiverDetector:
    detector = drift.PageHinkley(min_instances=1, delta=ALLOWANCE, threshold=arming.threshold, alpha=1.0, mode=arming.direction)
    # River's Page-Hinkley compares values with their running mean. Scores are centred, so it is fed the reference's own mean
    # first; otherwise the first windows after a change would be the norm.
    for _ in range(arming.windows):
        detector.update(0.0)
    return detector


class _UpsideDown:
    """FHDDM expects 1 for a right answer (River 0.26); we feed 1 for an error, as to the other detectors."""

    def __init__(self, river: RiverDetector) -> None:
        self._river = river

    @property
    def drift_detected(self) -> bool:
        """Whether the last update raised an alarm."""
        return self._river.drift_detected

    def update(self, x: float) -> None:
        """Take one outcome, 1 for an error."""
        self._river.update(1 - x)


DETECTORS: dict[str, DetectorKind] = {
    "page_hinkley": DetectorKind(_page_hinkley, "scores", budgeted=True),
    "adwin": DetectorKind(lambda _: drift.ADWIN(), "scores"),
    "kswin": DetectorKind(lambda arming: drift.KSWIN(seed=seed("kswin", arming.name)), "scores"),
    "ddm": DetectorKind(lambda _: binary.DDM(), "outcomes"),
    "eddm": DetectorKind(lambda _: binary.EDDM(), "outcomes"),
    "hddm_a": DetectorKind(lambda _: binary.HDDMA(), "outcomes"),
    "hddm_w": DetectorKind(lambda _: binary.HDDMW(), "outcomes"),
    "fhddm": DetectorKind(lambda _: _UpsideDown(binary.FHDDM()), "outcomes"),
}


#: Detectors that users may expect and that are too slow, with the reason.
REFUSED: dict[str, str] = {
    "lof": "one update takes about 22 ms; choose page_hinkley",
    "loda": "one update takes about 0.2 ms for each event; choose page_hinkley",
    "half_space_trees": "it needs inputs in [0, 1] and up to 0.6 ms for each event; choose page_hinkley",
}


def arm(name: str, arming: Arming) -> Armed:
    """Return a new detector of that name.

    Raises:
        KeyError: no such name (the configuration is checked before).
    """
    return Armed(DETECTORS[name].make(arming))
