"""Samples of which mid-quantiles alone are left -> how much of each lies in the bins of its reference.

A mid-quantile stands for a lump of n / 64 values. Put whole into one bin, lumps would be all that tells one window of thousands
of values from the next. So a sample's distribution function is taken at the edges of the bins: linear between its mid-quantiles,
along the reference's own distribution function, in which a sample that is like the reference is a straight line.

Rules:
1. Places are doubled ranks in the reference's quantiles, 0 to 2 * QUANTILES (detectors/reference/matrix.py). What the
   reference holds more than once, a point mass, is a stretch of places with no edge inside of it: it is in one bin, as where samples are exact.
2. Shares of a sample rise from edge to edge and add up to one; an edge is at most a lump from where its points have it.
3. What a sample holds does not depend on those beside it, to the bit.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Floats
from detectors.reference.feature_reference import QUANTILES
from detectors.reference.matrix import BINS, Integers, ReferenceMatrix, bins_of

_PLACES = 2.0 * QUANTILES
#: Neighbours closer than this are at one place.
_LEAST_SPAN = 1e-9


def bins_of_lumps(
    values: Floats, ranks: Integers, *, lengths: Integers, n: Floats, columns: Integers, matrix: ReferenceMatrix
) -> tuple[Floats, Floats]:
    """Return how many values of each sample lie in each bin, shape (BINS, samples), and what lumps add to its G times n.

    Args:
        values: mid-quantiles of all samples, one sample after the other, ascending in each.
        ranks: their doubled mid-ranks.
        lengths: how many mid-quantiles each sample has.
        n: how many values they stand for.
        columns: feature of each sample.
        matrix: the references.

    A line between two points a lump apart takes a quarter of a lump from the variance of what lies below an edge between them; so
    G is smaller than counts would have it. Between two point masses nobody knows where in them the points stand, so it is larger.
    """
    edges, samples, lump = matrix.edges, len(lengths), n / lengths
    bins = bins_of(ranks) * samples + np.repeat(np.arange(samples), lengths)
    held = np.bincount(bins, minlength=BINS * samples).reshape(BINS, samples)
    below = np.cumsum(held[:-1], axis=0)
    # Neighbours of each edge among the points, shape (2, BINS - 1, samples); beyond its ends a sample has nothing.
    first, last = below == 0, below == lengths
    after = below + (np.cumsum(lengths) - lengths)
    beside = np.stack([after - ~first, after - last])
    around, rank = values.take(beside), ranks.take(beside)
    place = rank >> 1
    lower = matrix.quantiles.take(columns * QUANTILES + np.maximum(place - 1, 0))
    place += columns * (QUANTILES + 1)
    # Halves: a difference of 1e308 and -1e308 overflows.
    reach = edges.begin.take(place) + edges.slope.take(place) * (around / 2 - lower / 2)
    left, right = reach
    less, more = np.maximum(below - 0.5, 0.0), np.minimum(below + 0.5, lengths)
    grown = edges.weight[columns] * lump / -4
    of_mass = lower == around
    of_mass[0][first] = of_mass[1][last] = False
    at = np.flatnonzero(of_mass[0] | of_mass[1])
    if len(at):
        sample = at % samples
        # A point mass is as wide on either side of its middle.
        wide = np.where(of_mass, 2.0 * (rank - reach), 0.0).reshape(2, -1)[:, at]
        begin, end, unsure = _within_masses(
            left.ravel()[at] + wide[0], right.ravel()[at], wide, (more - less).ravel()[at] * (_PLACES / lengths[sample])
        )
        left.ravel()[at], right.ravel()[at] = begin, end
        error = unsure * n[sample] / _PLACES
        change = (error * error / 12 + lump[sample] / 4) * edges.weights[:, columns].ravel()[at]
        grown += np.bincount(sample, weights=change, minlength=samples)
    share = (edges.places.take(columns, axis=1) - left) / np.maximum(right - left, _LEAST_SPAN)
    reached = np.zeros((BINS + 1, samples))
    # Ranks tell the points below an edge by one quantile: it may have a point more, or less.
    told = less + (more - less) * np.maximum(-0.5, np.minimum(share, 1.5))
    reached[1:-1] = np.where(last, lengths, told)
    reached[-1] = lengths
    reached = np.minimum(np.maximum.accumulate(reached, axis=0), lengths)
    return np.diff(reached, axis=0) * lump, grown


def _within_masses(left: Floats, right: Floats, wide: Floats, apart: Floats) -> tuple[Floats, Floats, Floats]:
    """Return where neighbours of an edge stand, of which one or both are in a point mass, and how wide the choice is.

    Args:
        left: places where the left neighbours end.
        right: places where the right ones begin.
        wide: how wide the point masses are, shape (2, n).
        apart: how far from each other such neighbours are in the reference; that much of each mass is between them.
    """
    slack = np.maximum(0.0, apart - (right - left))
    least, most = np.maximum(0.0, slack - wide[1]), np.minimum(wide[0], slack)
    unsure = np.maximum(0.0, most - least)
    taken = most - unsure / 2
    return left - taken, right + np.minimum(wide[1], slack - taken), unsure
