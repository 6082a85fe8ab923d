"""Which features changed together: when one feature raises an alarm, those that would soon raise one of their own.

Alarms keep the budget, monitor by monitor. Once somebody is notified, another question is asked: which other features show a
change that began at about the same time?

The CUSUM of a monitor, after its latest window, measures the evidence for a change. While nothing changes it lies above x with
a chance of about exp(-x) at any time (Siegmund 1985). Benjamini and Hochberg's procedure (1995) selects the features to name: of
all named features, about one in a hundred is named wrongly.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Flags, Floats
from detectors.judging.budget import ALLOWANCE, EXCESS
from detectors.judging.monitors import Monitors, Raised
from detectors.judging.verdict import JOIN_WINDOWS

#: Share of features that are named wrongly, among those that are named.
_FALSE_DISCOVERIES = 0.01


def drifted_together(
    monitors: Monitors, raised: list[Raised], there: Flags, window_seconds: float, *, widths: Floats
) -> list[Raised]:
    """Let the strongest monitor of each further feature that changed together with the alarms raise one too; return those.

    Args:
        monitors: of the segment.
        raised: the alarms of a window.
        there: monitors whose feature has a latest window that measures their statistic, shape (S, F); others are not named.
        window_seconds: width of the window that raised the alarms.
        widths: of the windows of each feature, in seconds, shape (F,).
    """
    evidence = monitors.evidence
    upwards = (monitors.rise >= monitors.fall) | monitors.up
    began = np.where(upwards, monitors.rise_began, monitors.fall_began)
    # A change begins anywhere in its window; in a wider window it may date that much earlier.
    earliest = min(alarm.began_at for alarm in raised) - JOIN_WINDOWS * window_seconds
    evidence = np.where(there & (began >= earliest - np.maximum(0.0, widths - window_seconds)), evidence, 0.0)
    alarmed = np.zeros(evidence.shape[1], dtype=np.bool_)
    alarmed[[alarm.cell[1] for alarm in raised]] = True
    sides = np.where(monitors.watched, 2.0 - monitors.up, 0.0).sum(axis=0)
    chance = np.minimum(1.0, sides * np.exp(-2 * ALLOWANCE * (evidence.max(axis=0) + EXCESS)))
    chance[evidence.max(axis=0) == 0] = 1.0
    chance[alarmed] = 0.0  # the features that raised the alarms are beyond doubt
    columns = np.flatnonzero(passed(chance) & ~alarmed)
    cells = np.zeros(evidence.shape, dtype=np.bool_)
    cells[evidence[:, columns].argmax(axis=0), columns] = True
    return monitors.fire(cells, upwards, monitors.previous, earliest) if len(columns) else []


def passed(chances: Floats) -> Flags:
    """Return which of the chances pass Benjamini and Hochberg's procedure, shape (n,).

    >>> passed(np.array([0.0001, 0.9, 0.004, 0.006])).tolist()
    [True, False, True, True]
    """
    order = np.argsort(chances, kind="stable")
    limits = _FALSE_DISCOVERIES * (np.arange(len(chances)) + 1) / len(chances)
    below = np.flatnonzero(chances[order] <= limits)
    passing = np.zeros(len(chances), dtype=np.bool_)
    if len(below):
        passing[order[: below[-1] + 1]] = True
    return passing
