"""Samples of which only mid-quantiles remain -> how many of their values lie in each bin of the reference.

A mid-quantile represents n / 64 values, called its share below. If each share went whole into one bin, the differences between
two windows of thousands of values would be rounding alone. So the distribution function of a sample is evaluated at the edges
of the bins. Between two mid-quantiles it is linear along the reference's own distribution function, so a sample that is like the
reference is a straight line.

Rules:
1. Positions are doubled ranks in the reference's quantiles, 0 to 2 * QUANTILES (detectors/reference/matrix.py). A value that
   several quantiles have, a point mass, covers a range of positions without an edge inside. So it lies in a single bin, as it
   does for samples that are kept whole.
2. The cumulated shares of a sample rise from edge to edge, up to one; at an edge they differ by at most one share from the
   count of points below it.
3. The result for a sample does not depend on the other samples, to the bit.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Floats
from detectors.reference.feature_reference import QUANTILES
from detectors.reference.matrix import BINS, Integers, ReferenceMatrix, bins_of

_POSITIONS = 2.0 * QUANTILES
#: Neighbours closer than this are at the same position.
_LEAST_SPAN = 1e-9


def bins_of_mid_quantiles(
    values: Floats, ranks: Integers, *, lengths: Integers, n: Floats, columns: Integers, matrix: ReferenceMatrix
) -> tuple[Floats, Floats]:
    """Return how many values of each sample lie in each bin, shape (BINS, samples), and a correction of its G.

    The correction, shape (samples,), is the amount by which binning mid-quantiles instead of values changes the expected G
    times n. Interpolating between neighbouring mid-quantiles removes a quarter of n / 64 from the variance of the count below
    an edge, so G comes out too small. Between two point masses the position of a mid-quantile inside its mass is unknown, so
    G comes out too large.

    Args:
        values: mid-quantiles of all samples, one sample after the other, ascending in each.
        ranks: their doubled mid-ranks.
        lengths: how many mid-quantiles each sample has.
        n: how many values they stand for.
        columns: feature of each sample.
        matrix: the references.
    """
    edges, samples, share = matrix.edges, len(lengths), n / lengths
    bins = bins_of(ranks) * samples + np.repeat(np.arange(samples), lengths)
    points_in = np.bincount(bins, minlength=BINS * samples).reshape(BINS, samples)
    below = np.cumsum(points_in[:-1], axis=0)
    # Neighbours of each edge among the points, shape (2, BINS - 1, samples); a sample ends at its first and last point.
    first, last = below == 0, below == lengths
    after = below + (np.cumsum(lengths) - lengths)
    beside = np.stack([after - ~first, after - last])
    around, rank = values.take(beside), ranks.take(beside)
    index = rank >> 1
    lower = matrix.quantiles.take(columns * QUANTILES + np.maximum(index - 1, 0))
    index += columns * (QUANTILES + 1)
    # Halves: a difference of 1e308 and -1e308 overflows.
    reach = edges.begin.take(index) + edges.slope.take(index) * (around / 2 - lower / 2)
    left, right = reach
    less, more = np.maximum(below - 0.5, 0.0), np.minimum(below + 0.5, lengths)
    correction = edges.weight[columns] * share / -4
    of_mass = lower == around
    of_mass[0][first] = of_mass[1][last] = False
    at = np.flatnonzero(of_mass[0] | of_mass[1])
    if len(at):
        sample = at % samples
        # A point mass extends equally to both sides of its middle.
        wide = np.where(of_mass, 2.0 * (rank - reach), 0.0).reshape(2, -1)[:, at]
        begin, end, uncertain = _within_masses(
            left.ravel()[at] + wide[0], right.ravel()[at], wide, (more - less).ravel()[at] * (_POSITIONS / lengths[sample])
        )
        left.ravel()[at], right.ravel()[at] = begin, end
        error = uncertain * n[sample] / _POSITIONS
        change = (error * error / 12 + share[sample] / 4) * edges.weights[:, columns].ravel()[at]
        correction += np.bincount(sample, weights=change, minlength=samples)
    fraction = (edges.positions.take(columns, axis=1) - left) / np.maximum(right - left, _LEAST_SPAN)
    reached = np.zeros((BINS + 1, samples))
    # Ranks count the points below an edge to one quantile, so the edge may have one point more or less below it.
    cumulated = less + (more - less) * np.maximum(-0.5, np.minimum(fraction, 1.5))
    reached[1:-1] = np.where(last, lengths, cumulated)
    reached[-1] = lengths
    reached = np.minimum(np.maximum.accumulate(reached, axis=0), lengths)
    return np.diff(reached, axis=0) * share, correction


def _within_masses(left: Floats, right: Floats, wide: Floats, apart: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (left, right, uncertain): positions of neighbours of which one or both are in a point mass, and their uncertainty.

    Args:
        left: positions at which the left neighbours end.
        right: positions at which the right neighbours begin.
        wide: width of the point masses, shape (2, n).
        apart: expected distance of such neighbours; the part that `right - left` lacks comes out of the two point masses.
    """
    slack = np.maximum(0.0, apart - (right - left))
    least, most = np.maximum(0.0, slack - wide[1]), np.minimum(wide[0], slack)
    uncertain = np.maximum(0.0, most - least)
    moved = most - uncertain / 2
    return left - moved, right + np.minimum(wide[1], slack - moved), uncertain
