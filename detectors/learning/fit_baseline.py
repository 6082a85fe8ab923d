"""Statistics of reference windows -> the baseline of each: season, correlation, spread."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Floats
from detectors.learning.fit_season import fit, fit_swing
from detectors.reference.baseline import Baseline, steady
from detectors.reference.season import HARMONIC, PERIODS, SeasonName

#: Lags in the long-run variance.
_LAGS = 6


_LARGEST_CORRELATION = 0.995


#: Variance up to which scores are only the rounding of a statistic that never moved.
_ROUNDING = 1e-12


#: The fast path is for statistics whose scores have about Gaussian tails: largest skewness, largest kurtosis beyond 3, largest
#: correlation of the squares of neighbours, and least windows to estimate them. A skewness of 0.2 doubles the chance of a
#: score beyond 3.5.
_SKEW, _TAILS, _CLUSTERS, _FAST_WINDOWS = 0.2, 0.5, 0.15, 100


#: Largest kurtosis that is used: cumulants do not describe heavier tails. And the most by which tails widen the spread.
_MOST_KURTOSIS, _MOST_WIDENED = 100.0, 3.0


#: How far beyond chance the CUSUM of the average cycle may go, and the most by which that widens the spread.
_ROOM, _MOST_FOR_CYCLE = 0.5, 3.0


#: Allowance for the error of the expected value, in standard errors: 2.5 for a season, 2.0 for slots of the week (they adapt),
#: and sqrt 2 for a constant mean (Page and Hinkley's test adapts).
_OFF, _OFF_FOLLOWED, _OFF_MEAN = 2.5, 2.0, math.sqrt(2)


def learn(
    name: SeasonName,
    window_seconds: float,
    *,
    starts: Floats,
    local: Floats,
    values: Floats,
    within: Floats,
    counts: Floats,
    floor: Floats,
    least: float = 0.0,
) -> list[Baseline]:
    """Learn the baselines of m statistics from the same w >= 2 reference windows, in order of time.

    Args:
        name: season to fit.
        window_seconds: width of a window.
        starts: first second of each window, epoch seconds, shape (w,).
        local: the same times in seconds of the local week, shape (w,).
        values: the statistics, shape (w, m).
        within: their mean variance within a window, times the number of events, shape (m,).
        counts: number of events behind each, shape (w, m).
        floor: least standard deviations, times the number of events, shape (m,).
        least: least standard deviation between windows, whatever the reference shows.
    """
    seasons, expected, parameters = fit(name, window_seconds, local, values)
    residual = values - expected
    windows = len(values)
    freedom = np.maximum(1, windows - parameters)
    variance = np.square(residual).sum(axis=0) / freedom
    between = np.maximum(least * least, variance - within * (1 / counts).mean(axis=0))
    scaled = residual / np.maximum(np.sqrt(between + within / counts), floor / counts)
    swings = np.zeros((0, values.shape[1]))
    if name in HARMONIC:
        swings, swung = fit_swing(local, scaled)
        scaled = scaled / swung
    gaps = np.maximum(1.0, np.diff(starts) / window_seconds)[:, None]
    correlation = _correlation(scaled, gaps[:, 0] < 1.5, windows)
    carried = correlation**gaps
    whitened = (scaled[1:] - carried * scaled[:-1]) * steady(correlation, carried)
    spread = _long_run(whitened) * np.sqrt(windows / freedom)
    skew, kurtosis, clusters = _tails(whitened)
    fast = (np.abs(skew) < _SKEW) & (kurtosis < _TAILS) & (clusters < _CLUSTERS) & (windows >= _FAST_WINDOWS)
    spread *= _widened_for_tails(skew, kurtosis)
    # A reference that never moved has no spread of its own; the floor above stands for it.
    spread = np.maximum(spread, 0.5 * np.sqrt(1 - correlation**2))
    # The expected value is off by about sqrt(parameters / windows) standard deviations; that of a season is off for hours.
    # Scores with a bias b, divided by 1 + b, reach a CUSUM's threshold no sooner than scores without a bias.
    off = _OFF_FOLLOWED if name == "slot-of-week" else _OFF
    spread *= 1 + (_OFF_MEAN + off * np.sqrt(np.maximum(0.0, parameters - 1))) / math.sqrt(windows)
    if name in HARMONIC:
        spread *= _widened_for_cycle(whitened / spread, local[1:] % PERIODS[name], window_seconds)
    return [
        Baseline(season, *figures, windows=windows, last=last, last_start=float(starts[-1]), swing=swing, fast=armed)
        for season, figures, last, swing, armed in zip(
            seasons,
            zip(
                between.tolist(),
                within.tolist(),
                floor.tolist(),
                correlation.tolist(),
                spread.tolist(),
                strict=True,
            ),
            scaled[-1].tolist(),
            [swing if any(swing) else [] for swing in swings.T.tolist()],
            fast.tolist(),
            strict=True,
        )
    ]


def _correlation(scaled: Floats, adjacent: NDArray[np.bool_], windows: int) -> Floats:
    power = np.square(scaled).mean(axis=0)
    if not adjacent.any():
        return np.zeros_like(power)
    products = (scaled[1:] * scaled[:-1])[adjacent].mean(axis=0)
    lag1 = np.divide(products, power, out=np.zeros_like(power), where=power > _ROUNDING)
    raised = lag1 + 2 * np.sqrt(np.maximum(0.0, 1 - lag1**2) / windows)
    return np.where(lag1 < 2 / math.sqrt(windows), 0.0, np.minimum(_LARGEST_CORRELATION, raised))


def _long_run(whitened: Floats) -> Floats:
    """Return the root of Bartlett's long-run variance over 6 lags, at least the plain deviation, raised by 2 standard errors."""
    n = len(whitened)
    if n < 2:
        return np.ones(whitened.shape[1])
    centred = whitened - whitened.mean(axis=0)
    variance = np.square(centred).mean(axis=0)
    total = variance.copy()
    for lag in range(1, min(_LAGS, n - 1) + 1):
        total += 2 * (1 - lag / (_LAGS + 1)) * (centred[lag:] * centred[:-lag]).sum(axis=0) / n
    return np.asarray(np.sqrt(np.maximum(total, variance)) * (1 + 2 / math.sqrt(2 * n)))


def _tails(whitened: Floats) -> tuple[Floats, Floats, Floats]:
    """Return skewness, kurtosis beyond 3, and the correlation of the squares of neighbours; NaN if a statistic never moved."""
    if len(whitened) < 2:
        return (np.full(whitened.shape[1], np.nan),) * 3
    centred = whitened - whitened.mean(axis=0)
    squares = np.square(centred)
    power = squares.mean(axis=0)
    power[power <= _ROUNDING] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = (squares * centred).mean(axis=0) / power**1.5
        kurtosis = np.square(squares).mean(axis=0) / power**2 - 3
        squares -= power
        clusters = (squares[1:] * squares[:-1]).mean(axis=0) / np.square(squares).mean(axis=0)
    return skew, kurtosis, clusters


def _widened_for_tails(skew: Floats, kurtosis: Floats) -> Floats:
    """Return the factor by which to widen the spread for tails that are not Gaussian.

    A CUSUM with allowance 1/2 crosses h with a chance of about exp(-th). Here t is the root of the increments' cumulant
    generating function (Lundberg's exponent; Siegmund 1985, ch. II): 1 for standard Gaussian scores, less for a heavier
    tail. Scores divided by c have the exponent 1 again if 1/(2c^2) + skew/(6c^3) + kurtosis/(24c^4) = 1/2.
    """
    third, fourth = np.abs(np.nan_to_num(skew)) / 6, np.clip(np.nan_to_num(kurtosis), 0.0, _MOST_KURTOSIS) / 24
    low, high = np.ones_like(third), np.full_like(third, _MOST_WIDENED)
    for _ in range(24):
        middle = (low + high) / 2
        above = 0.5 / middle**2 + third / middle**3 + fourth / middle**4 > 0.5
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(high)


def _widened_for_cycle(scores: Floats, phase: Floats, window_seconds: float) -> Floats:
    """Return the factors, shape (m,), by which to widen spreads so that errors of the season in every cycle raise no alarm.

    Harmonics round off the edges of a day or a week, and steps by half hour correct only large errors. The remaining errors
    return in every cycle, and chance does not. So the average of k cycles keeps the errors, while the CUSUM of n averages of
    white scores goes no farther than about log(n) / k. The spread is widened until the CUSUM goes no farther.

    Args:
        scores: of the reference, shape (w, m).
        phase: seconds from the begin of the cycle to each score, shape (w,).
        window_seconds: width of a window.
    """
    slot = (phase // window_seconds).astype(np.intp)
    order = np.argsort(slot, kind="stable")
    begins = np.flatnonzero(np.diff(slot[order], prepend=-1))
    counts = np.diff(begins, append=len(order))
    cycles = int(counts.max())
    # A window that was thinned out counts as zero, so that no average scatters more than an average of all cycles.
    means = np.add.reduceat(scores[order], begins, axis=0) / cycles
    tenths = np.zeros(scores.shape[1], dtype=np.intp)
    most = math.log(len(begins)) / cycles + _ROOM
    for more in range(round(10 * (_MOST_FOR_CYCLE - 1)) if cycles > 1 else 0):
        loud = tenths == more
        loud[loud] = _excursion(np.tile(means[:, loud], (2, 1)) / (1 + more / 10)) > most
        if not loud.any():
            break
        tenths[loud] += 1
    return 1 + tenths / 10


def _excursion(scores: Floats) -> Floats:
    """Return the largest value of the CUSUM of scores, of both sides, with an allowance of one half, shape (m,)."""
    found = np.zeros(scores.shape[1])
    for side in (scores, -scores):
        walk = np.cumsum(side - 0.5, axis=0)
        found = np.maximum(found, (walk - np.minimum.accumulate(np.minimum(walk, 0.0), axis=0)).max(axis=0, initial=0.0))
    return found
