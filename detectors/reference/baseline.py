"""The behaviour of a statistic while nothing is wrong: the figures that turn it into a standard score.

The reference windows give, in this order: the season, the variance between windows and within
them (windows hold different numbers of events), the autocorrelation, and the long-run spread of the
whitened residuals. Each figure errs on the quiet side, the more so the shorter the reference is.
"""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.reference.season import Season


class Baseline(msgspec.Struct, frozen=True):
    """The behaviour of one statistic of one feature while nothing is wrong; detectors/learning/fit_baseline.py fits it.

    Args:
        season: expectation by time.
        between: variance between windows that more events would not reduce.
        within: variance within a window, to be divided by its number of events.
        floor: least standard deviation, times the number of events (constant features).
        correlation: of a window with the one before it, raised by two standard errors.
        spread: long-run standard deviation of the whitened reference.
        windows: number of reference windows from which it was learned.
        last: residual of the last reference window, in standard deviations; the window began at `last_start`, epoch seconds.
        swing: daily harmonics of the log of the deviation, length 12; empty if the deviation is the same all day.
        fast: whether two windows alone may raise an alarm, because the scores have about Gaussian tails.
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
    """Return the factor that gives a whitened residual after a gap the spread of adjacent windows, same shape.

    With lag-1 correlation c, a gap of g windows carries over c^g of the last residual (`carried`).
    It leaves a variance of 1 - c^2g instead of 1 - c^2.
    """
    return np.sqrt((1 - correlation**2) / (1 - carried**2))
