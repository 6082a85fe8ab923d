"""Statistics of reference windows -> the season of each."""

from __future__ import annotations

import numpy as np

from detectors.arrays import Floats
from detectors.reference.season import COARSE_SECONDS, PERIODS, SLOTTED, Season, SeasonName, harmonics

#: A harmonic is kept if it explains more than this many times the noise: chi-square with two degrees, a chance of 1 in 2,000.
_BY_CHANCE = 15.0


#: Largest correlation of neighbours that raises the noise of slow harmonics, and a variance that rounding alone has.
_MOST_PERSISTENT, _ROUNDING = 0.98, 1e-20


#: Residuals below this, in standard deviations, count as this large, so that the log of a tiny residual does not dominate.
_LEAST_SCALED = 0.1


def fit(name: SeasonName, window_seconds: float, local: Floats, values: Floats) -> tuple[list[Season], Floats, Floats]:
    """Return (seasons of m statistics, expected values of shape (w, m), number of parameters of each, shape (m,)).

    Args:
        name: of the season.
        window_seconds: width of a window.
        local: local times of the windows, shape (w,).
        values: the statistics, shape (w, m).
    """
    means: Floats
    expected: Floats
    steps: Floats = np.zeros((0, values.shape[1]))
    if name in SLOTTED:
        means, expected, used = _slots(PERIODS[name], window_seconds, local, values)
    elif name == "constant":
        means = np.asarray(values.mean(axis=0, keepdims=True), dtype=np.float64)
        expected, used = np.broadcast_to(means, values.shape), np.ones(values.shape[1])
    else:
        means, expected, used = _fitted_harmonics(harmonics(name, local), values)
        steps = _steps(local % PERIODS[name], values - expected, used, slots=round(PERIODS[name] / COARSE_SECONDS))
        expected = expected + steps[(local % PERIODS[name] // COARSE_SECONDS).astype(np.intp)]
        used = used + (steps != 0).sum(axis=0)
    return (
        [
            Season(name, window_seconds, parameters, missed if any(missed) else [])
            for parameters, missed in zip(means.T.tolist(), steps.T.tolist(), strict=True)
        ],
        expected,
        used,
    )


def _fitted_harmonics(waves: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (coefficients of p waves, shape (p, m), expected values, shape (w, m), number of parameters, shape (m,)).

    A harmonic that chance explains is left out. It would change the expected value for hours, and tests that add up scores
    would take that for a change. Positively autocorrelated noise has more power at low frequencies.
    """
    gram, moments = waves.T @ waves, waves.T @ values
    means = found = _solved(gram, moments)
    explained = (np.square(means) * np.diag(gram)[:, None])[1:].reshape(-1, 2, len(means.T)).sum(axis=1)
    used = np.full(values.shape[1], float(len(gram)))
    # The full fit absorbs some low-frequency noise, so the noise is estimated again from the harmonics that were kept.
    for _ in range(2):
        kept = explained > _BY_CHANCE * _noise(values - waves @ found, used)
        used = 1.0 + 2.0 * kept.sum(axis=0)
        found = np.zeros_like(means)
        for pattern in np.unique(kept, axis=1).T:
            alike = (kept == pattern[:, None]).all(axis=0)
            chosen = np.concatenate(([True], np.repeat(pattern, 2)))
            found[np.ix_(chosen, alike)] = _solved(gram[np.ix_(chosen, chosen)], moments[np.ix_(chosen, alike)])
    return found, np.asarray(waves @ found), used


def _noise(left: Floats, used: Floats) -> Floats:
    """Return the variance of the noise at low frequencies, shape (m,); infinite without a degree of freedom.

    Args:
        left: residuals of the fit, shape (w, m).
        used: number of parameters of each fit, shape (m,).
    """
    power = np.square(left).sum(axis=0)
    freedom = len(left) - used
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nan_to_num((left[1:] * left[:-1]).sum(axis=0) / power).clip(0.0, _MOST_PERSISTENT)
        return np.where(freedom > 0, np.maximum(power / freedom, _ROUNDING) * (1 + correlation) / (1 - correlation), np.inf)


def _steps(phase: Floats, left: Floats, used: Floats, *, slots: int) -> Floats:
    """Return what harmonics miss in each half hour of a cycle, shape (slots, m); zero where chance explains it.

    Harmonics round off sharp edges, and miss the same amount in every cycle. A step is kept if nearly all cycles miss on the
    same side. Its size is the lower median of the misses of all cycles, so an event of a single cycle makes no step.

    Args:
        phase: seconds since the cycle began, of windows in order of time, shape (w,).
        left: residuals of the harmonics, shape (w, m).
        used: number of parameters of each fit, shape (m,).
        slots: half hours in a cycle.
    """
    period = slots * COARSE_SECONDS
    apart = (np.diff(phase, prepend=phase[:1]) + period / 2) % period - period / 2  # a clock may be set back
    cycle = np.maximum(0, np.cumsum(apart) // period).astype(np.intp)
    cycles = int(cycle.max()) + 1
    slot = cycle * slots + (phase // COARSE_SECONDS).astype(np.intp)
    begins = np.flatnonzero(np.diff(slot, prepend=-1))
    total = np.zeros((cycles * slots, left.shape[1]))
    np.add.at(total, slot[begins], np.add.reduceat(left, begins, axis=0))
    counts = np.bincount(slot, minlength=cycles * slots)
    missed = (total / np.where(counts, counts, np.nan)[:, None]).reshape(cycles, slots, -1)
    seen = (counts.reshape(cycles, slots) > 0).sum(axis=0)[:, None]
    same_side = np.maximum((missed > 0).sum(axis=0), (missed < 0).sum(axis=0)) >= np.maximum(2, seen - seen // 4)
    windows = np.maximum(1, counts.reshape(cycles, slots).sum(axis=0))[:, None]
    mean = total.reshape(cycles, slots, -1).sum(axis=0) / windows
    kept = same_side & (np.square(mean) * windows > _BY_CHANCE * _noise(left, used))
    lower = np.broadcast_to(np.maximum(0, seen - 1) // 2, mean.shape)[None]
    usual = np.take_along_axis(np.sort(np.abs(missed), axis=0), lower, axis=0)[0]
    return np.where(kept, np.copysign(usual, mean), 0.0)


def fit_swing(local: Floats, scaled: Floats) -> tuple[Floats, Floats]:
    """Return how the time of day widens the residuals: harmonics of the log, shape (12, m), and factors, shape (w, m).

    Args:
        local: local times of the windows, shape (w,).
        scaled: residuals of m statistics after the season, in standard deviations, shape (w, m).
    """
    means, expected, _ = _fitted_harmonics(harmonics("daily", local), np.log(np.maximum(np.abs(scaled), _LEAST_SCALED)))
    return means[1:], np.exp(expected - means[0])


def _solved(gram: Floats, moments: Floats) -> Floats:
    """Return the least-squares coefficients, from the products of the waves with each other and with the values."""
    return np.asarray(np.linalg.lstsq(gram, moments, rcond=None)[0], dtype=np.float64)


def _slots(period: float, window_seconds: float, local: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (mean of each slot, shape (slots, m), expected values, shape (w, m), effective number of parameters, shape (m,))."""
    slots = max(1, int(period // window_seconds))
    index = ((local % period) // window_seconds).astype(np.intp) % slots
    total = np.zeros((slots, values.shape[1]))
    np.add.at(total, index, values)
    count = np.bincount(index, minlength=slots).astype(np.float64)[:, None]
    if slots > 7:  # smoothed over the neighbours; but days of the week differ
        total = total + np.roll(total, 1, axis=0) + np.roll(total, -1, axis=0)
        count = count + np.roll(count, 1, axis=0) + np.roll(count, -1, axis=0)
    means = np.where(count > 0, total / np.maximum(count, 1), values.mean(axis=0))
    used = max(1, round(slots / 3)) if slots > 7 else slots
    return means, means[index], np.full(values.shape[1], float(used))
