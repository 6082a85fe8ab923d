"""Which features changed together: when one has raised an alarm, those that would soon raise one of their own.

Paging keeps the budget, monitor by monitor. Once somebody is called, another question is asked: which of the other features
show a change that began at about the same time? The CUSUM of a monitor, as it stands after its latest window, tells how much
speaks for one; while nothing changes it lies above x with a chance of about exp(-x) (Siegmund 1985), whenever one looks. Of the
features those are named that Benjamini and Hochberg's procedure (1995) passes: of all that are named, about one in a hundred is
named wrongly.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Floats
from detectors.judging.budget import ALLOWANCE, EXCESS
from detectors.judging.monitors import Monitors, Raised
from detectors.judging.verdict import JOIN_WINDOWS
from detectors.reference.season import Flags

#: Share of wrong ones among the features that are named.
_FALSE_DISCOVERIES = 0.01


def suspects(monitors: Monitors, raised: list[Raised], there: Flags, window_seconds: float, *, widths: Floats) -> list[Raised]:
    """Let the strongest monitor of each further feature that changed together with the alarms raise one too, and return these.

    Args:
        monitors: of the segment.
        raised: the alarms of a window.
        there: which monitors the latest window of their feature says something about, shape (S, F); no others are named.
        window_seconds: width of the window that raised the alarms.
        widths: of the windows of each feature, in seconds, shape (F,).
    """
    evidence = monitors.evidence
    upwards = (monitors.rise >= monitors.fall) | (monitors.up > 0)
    began = np.where(upwards, monitors.rise_began, monitors.fall_began)
    # A change begins anywhere in its window, and so by as much before as that one is wider.
    earliest = min(one.began_at for one in raised) - JOIN_WINDOWS * window_seconds
    evidence = np.where(there & (began >= earliest - np.maximum(0.0, widths - window_seconds)), evidence, 0.0)
    told = np.zeros(evidence.shape[1], dtype=np.bool_)
    told[[one.cell[1] for one in raised]] = True
    sides = np.where(monitors.watched, 2.0 - monitors.up, 0.0).sum(axis=0)
    chance = np.minimum(1.0, sides * np.exp(-2 * ALLOWANCE * (evidence.max(axis=0) + EXCESS)))
    chance[told | (evidence.max(axis=0) == 0)] = 1.0
    chance[told] = 0.0  # the alarms themselves are beyond doubt
    columns = np.flatnonzero(passed(chance) & ~told)
    cells = np.zeros(evidence.shape, dtype=np.bool_)
    cells[evidence[:, columns].argmax(axis=0), columns] = True
    return monitors.fire(cells, upwards, monitors.previous, earliest) if len(columns) else []


def passed(chances: Floats) -> np.ndarray:
    """Return which of the chances, shape (n,), Benjamini and Hochberg's procedure passes.

    >>> passed(np.array([0.0001, 0.9, 0.004, 0.006])).tolist()
    [True, False, True, True]
    """
    order = np.argsort(chances, kind="stable")
    limits = _FALSE_DISCOVERIES * (np.arange(len(chances)) + 1) / len(chances)
    below = np.flatnonzero(chances[order] <= limits)
    found = np.zeros(len(chances), dtype=np.bool_)
    if len(below):
        found[order[: below[-1] + 1]] = True
    return found
