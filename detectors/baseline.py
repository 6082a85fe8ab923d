"""Turn a window statistic into a standard score that white Gaussian arithmetic holds for.

From the reference windows come, in this order: the season, the variance between windows and within
them (windows hold different numbers of events), the autocorrelation, and the long-run spread of what
is left. Each errs on the quiet side, and more so the shorter the reference is.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.sample import Floats
from detectors.season import DAY_SECONDS, Season, SeasonName, fit

#: Lags in the long-run variance.
_LAGS = 6
#: Time constant of the slow level that coarse seasons follow, in seconds.
_SLOW_SECONDS = 21 * DAY_SECONDS
_LARGEST_CORRELATION = 0.995


class Baseline(msgspec.Struct):
    """What one statistic does while nothing is wrong; made by `learn`.

    Args:
        season: expectation by time.
        between: variance between windows that more events would not reduce.
        within: variance within a window, to be divided by its number of events.
        floor: least standard deviation, times the number of events (constant features).
        correlation: of a window with the one before it, raised by two standard errors.
        spread: long-run standard deviation of the whitened reference.
        windows: how many reference windows it was learned from.
        last: residual of the last window, in standard deviations; it began at `last_start`.
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
    #: Slow level of the statistic around its season.
    level: float = 0.0

    def score(self, *, start: float, local: float, value: float, count: float) -> float:
        """Return the standard score of a window's statistic: about N(0, 1) while nothing changes.

        Args:
            start: first second of the window, epoch seconds; windows must come in order.
            local: the same in seconds of the local week.
            value: the statistic.
            count: events it was taken over, > 0.
        """
        residual = (value - self.season.expect(local) - self.level) / self._deviation(count)
        gap = (start - self.last_start) / self.season.window_seconds
        if gap <= 1.0:
            whitened = residual - self.correlation * self.last
        else:
            carried = math.pow(self.correlation, gap)
            whitened = (residual - carried * self.last) * _steady(self.correlation, carried)
        self.last, self.last_start = residual, start
        return whitened / self.spread

    def follow(self, *, local: float, value: float) -> None:
        """Let slot seasons follow what is normal; to be called for windows in which nothing is wrong."""
        if self.season.name == "slot-of-week":
            residual = value - self.season.expect(local) - self.level
            self.level += residual * min(1.0, self.season.window_seconds / _SLOW_SECONDS)
            self.season.follow(local, value - self.level)

    def _deviation(self, count: float) -> float:
        return max(math.sqrt(self.between + self.within / count), self.floor / count)

    def expected(self, local: float) -> float:
        """Return what the statistic is expected to be at that local time."""
        return self.season.expect(local) + self.level


def learn(
    name: SeasonName,
    window_seconds: float,
    *,
    starts: Floats,
    local: Floats,
    values: Floats,
    within: Floats,
    counts: Floats,
    floor: float,
) -> Baseline:
    """Learn a baseline from reference windows, all arrays of shape (w,), w >= 2, in order of time.

    Args:
        name: season to fit.
        window_seconds: width of a window.
        starts: first second of each window, epoch seconds.
        local: the same in seconds of the local week.
        values: the statistic.
        within: its variance within a window, times the number of events.
        counts: events in each.
        floor: least standard deviation, times the number of events.
    """
    season, parameters = fit(name, window_seconds, local, values)
    expected = np.array([season.expect(moment) for moment in local])
    residual = values - expected
    windows = len(values)
    freedom = max(1, windows - parameters)
    inside = float(within.mean())
    variance = float(np.square(residual).sum()) / freedom
    between = max(0.0, variance - inside * float((1 / counts).mean()))
    scaled = residual / np.maximum(np.sqrt(between + inside / counts), floor / counts)
    gaps = np.maximum(1.0, np.diff(starts) / window_seconds)
    correlation = _correlation(scaled, gaps < 1.5, windows)
    carried = correlation**gaps
    whitened = (scaled[1:] - carried * scaled[:-1]) * np.array([_steady(correlation, one) for one in carried])
    spread = _long_run(whitened) * math.sqrt(windows / freedom)
    # A reference that never moved has no spread of its own; the floor above stands for it.
    spread = max(spread, 0.5 * math.sqrt(1 - correlation**2))
    spread *= 1 + 2 / math.sqrt(2 * windows)
    return Baseline(season, between, inside, floor, correlation, spread, windows, float(scaled[-1]), float(starts[-1]))


def _steady(correlation: float, carried: float) -> float:
    """Return what gives a whitened residual the spread of adjacent windows after any gap.

    A gap of g windows carries c^g of the last residual over and leaves a variance of 1 - c^2g, not 1 - c^2.
    """
    return math.sqrt((1 - correlation**2) / (1 - carried**2))


def _correlation(scaled: Floats, adjacent: NDArray[np.bool_], windows: int) -> float:
    power = float(np.square(scaled).mean())
    if power == 0 or not adjacent.any():
        return 0.0
    products = (scaled[1:] * scaled[:-1])[adjacent]
    lag1 = float(products.mean()) / power
    if lag1 < 2 / math.sqrt(windows):
        return 0.0
    return min(_LARGEST_CORRELATION, lag1 + 2 * math.sqrt(max(0.0, 1 - lag1**2) / windows))


def _long_run(whitened: Floats) -> float:
    """Return sqrt of the Bartlett long-run variance over 6 lags, never below the plain one, raised by 2 s.e."""
    n = len(whitened)
    if n < 2:
        return 1.0
    centred = whitened - whitened.mean()
    variance = float(np.square(centred).mean())
    total = variance
    for lag in range(1, min(_LAGS, n - 1) + 1):
        total += 2 * (1 - lag / (_LAGS + 1)) * float((centred[lag:] * centred[:-lag]).sum()) / n
    return math.sqrt(max(total, variance)) * (1 + 2 / math.sqrt(2 * n))
