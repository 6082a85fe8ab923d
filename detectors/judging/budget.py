"""False-alarm budget -> detection threshold.

The user sets false alarms per week for a whole model. Every monitor (feature x statistic x segment) gets an equal share. From
its share follows the mean time between its false alarms, the average run length (ARL). From the ARL follows the threshold of a
CUSUM-type detector, by Siegmund's approximation (Siegmund 1985, Sequential Analysis, eq. 2.56):
one-sided ARL = (exp(2kb) - 2kb - 1) / (2k^2) with b = h + 1.166.

The fast path spends the other half of the budget. It alarms on two windows in a row beyond a limit on the same side; for
independent Gaussian scores the chance of that is the square of the chance of a single window.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from detectors.reference.local_time import WEEK_SECONDS

#: Allowance of the Page-Hinkley detector, in standard deviations: half the shift that it detects soonest.
ALLOWANCE = 0.5
#: Share of the budget that the Page-Hinkley detectors spend; the rest is the fast path's.
SHARE = 0.5
#: Mean excess of a Gaussian walk over its boundary, which Siegmund adds to the boundary.
EXCESS = 1.166
#: No threshold is lower than this, whatever the budget.
_LEAST = 0.01


def run_length(threshold: float) -> float:
    """Return the average run length: the mean number of windows between false alarms of one side at that threshold.

    >>> round(run_length(5.0))
    938
    """
    reach = 2 * ALLOWANCE * (threshold + EXCESS)
    return (math.exp(reach) - reach - 1) / (2 * ALLOWANCE**2)


def windows_per_week(window_seconds: float) -> float:
    """Return how many windows of that width a week has.

    >>> windows_per_week(60)
    10080.0
    """
    return WEEK_SECONDS / window_seconds


def false_alarms_per_week(*, threshold: float, window_seconds: float, sides: float) -> float:
    """Return the expected false alarms of all monitors at that threshold, if each has a window in every bucket.

    Args:
        threshold: in standard deviations.
        window_seconds: width of a window.
        sides: of all monitors; a monitor that alarms on rises and falls has two.

    >>> round(false_alarms_per_week(threshold=16.35, window_seconds=60, sides=4000), 2)
    0.5
    """
    return sides * windows_per_week(window_seconds) / run_length(threshold)


def threshold(*, false_alarms_per_week: float, window_seconds: float, sides: float) -> float:
    """Return the Page-Hinkley threshold, in standard deviations, if that number of sides shares the budget.

    >>> round(threshold(false_alarms_per_week=1, window_seconds=60, sides=4000), 1)
    16.3
    """
    windows = max(1.0, sides) * windows_per_week(window_seconds)
    wanted = max(run_length(_LEAST), windows / (SHARE * false_alarms_per_week))
    return float(brentq(lambda h: math.log(run_length(h)) - math.log(wanted), _LEAST, 200.0))


def fast_limit(*, false_alarms_per_week: float, window_seconds: float, sides: float) -> float:
    """Return the limit that two windows in a row must exceed, in standard deviations, if that number of sides shares the budget.

    >>> round(fast_limit(false_alarms_per_week=1, window_seconds=60, sides=4000), 2)
    3.69
    """
    windows = max(1.0, sides) * windows_per_week(window_seconds)
    rate = min(0.25, (1 - SHARE) * false_alarms_per_week / windows)
    return -float(ndtri(math.sqrt(rate)))


def fast_alarms_per_week(*, limit: float, window_seconds: float, sides: float) -> float:
    """Return the expected false alarms of that number of sides with a fast path, at that limit.

    >>> round(fast_alarms_per_week(limit=3.69, window_seconds=60, sides=4000), 2)
    0.51
    """
    return sides * windows_per_week(window_seconds) * float(ndtr(-limit)) ** 2
