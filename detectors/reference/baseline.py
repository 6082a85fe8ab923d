"""What a statistic does while nothing is wrong: the figures that turn it into a standard score.

From the reference windows come, in this order: the season, the variance between windows and within
them (windows hold different numbers of events), the autocorrelation, and the long-run spread of what
is left. Each errs on the quiet side, and more so the shorter the reference is.
"""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.reference.season import Season


class Baseline(msgspec.Struct, frozen=True):
    """What one statistic of one feature does while nothing is wrong; made by `learn`.

    Args:
        season: expectation by time.
        between: variance between windows that more events would not reduce.
        within: variance within a window, to be divided by its number of events.
        floor: least standard deviation, times the number of events (constant features).
        correlation: of a window with the one before it, raised by two standard errors.
        spread: long-run standard deviation of the whitened reference.
        windows: how many reference windows it was learned from.
        last: residual of the last reference window, in standard deviations; it began at `last_start`.
        swing: daily harmonics of the log of the deviation, shape (12,); empty where it is the same all day.
        fast: whether two windows alone may raise an alarm: their scores have the tails for it.
    """

    season: Season
    between: float
    within: float
    floor: float
    correlation: float
    spread: float
    windows: int
    last: float
    last_start: float
    swing: list[float] = []
    fast: bool = False


def steady(correlation: Floats, carried: Floats) -> Floats:
    """Return what gives a whitened residual the spread of adjacent windows after any gap.

    A gap of g windows carries c^g of the last residual over and leaves a variance of 1 - c^2g, not 1 - c^2.
    """
    return np.sqrt((1 - correlation**2) / (1 - carried**2))
