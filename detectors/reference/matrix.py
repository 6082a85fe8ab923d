"""The references of a segment side by side: a few array operations compare a window with all of them.

A feature is a column; its number is its index in `names`. A matrix is computed from the references and holds no other
information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Floats
from detectors.reference.feature_reference import QUANTILES, FeatureReference
from detectors.windows.sample import POINTS

#: Bins of about equal share; the statistic `shape` compares their counts.
BINS = 16
#: Least share of a bin: values may fall between those of a discrete reference.
_LEAST_SHARE = 0.5 / QUANTILES
#: Between quantiles closer than this nothing is interpolated.
_LEAST_GAP = 1e-300
#: Steps of the binary search below, which ends with one more comparison.
_STEPS = tuple(QUANTILES >> step for step in range(1, QUANTILES.bit_length()))

Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of the bins of each column, and the line that places a value; positions are doubled ranks, 0 to 2 * QUANTILES.

    A run is a value that several quantiles have: a point mass of the reference.

    Args:
        positions: of the edges between the bins, shape (BINS - 1, F); no edge is inside of a run.
        weights: increase of G times n for a variance of 1 in the number of values below an edge, shape (BINS - 1, F).
        weight: sum of the weights of all edges, shape (F,).
        begin: begin[f, r] is the position at which interpolation for rank r starts, shape (F, QUANTILES + 1): the middle of
            the share of a unique quantile, or the end of a run. A value in a run itself starts at the begin of the run.
        slope: positions per half unit of value, from there to the next quantile, shape (F, QUANTILES + 1).
    """

    positions: Floats
    weights: Floats
    weight: Floats
    begin: Floats
    slope: Floats


@dataclass(frozen=True, slots=True)
class Cells:
    """A cell for every category of the references, and one for all other categories of a feature that has any.

    Args:
        of_category: for each column, category -> its cell.
        rest: for each column, the cell of all other categories; -1 for a feature without categories.
        owner: column of each cell, shape (C,).
        shares: share of each cell in its reference, shape (C,).
    """

    of_category: list[dict[str, int]]
    rest: list[int]
    owner: Integers
    shares: Floats


class ReferenceMatrix:
    """References as columns. Every array is made when it is first needed.

    Args:
        references: feature -> reference, in the order of the columns.
        outlier_beyond: distance from which a value is an outlier, in standard deviations.
    """

    def __init__(self, references: Mapping[str, FeatureReference], *, outlier_beyond: float) -> None:
        self.names = list(references)
        self.column = {name: number for number, name in enumerate(self.names)}
        self.references = list(references.values())
        self.outlier_beyond = outlier_beyond

    @cached_property
    def quantiles(self) -> Floats:
        """Shape (F, QUANTILES); zeros for a feature without numbers, for which `numeric` is False."""
        quantiles = np.zeros((len(self.names), QUANTILES))
        for number, reference in enumerate(self.references):
            if len(reference.quantiles):
                quantiles[number] = reference.quantiles
        return quantiles

    @cached_property
    def numeric(self) -> NDArray[np.bool_]:
        """Whether each feature had numbers, shape (F,)."""
        return np.array([len(reference.quantiles) > 0 for reference in self.references], dtype=np.bool_)

    @cached_property
    def categorical(self) -> NDArray[np.bool_]:
        """Whether each feature had categories, shape (F,)."""
        return np.array([bool(reference.shares) for reference in self.references], dtype=np.bool_)

    @cached_property
    def low(self) -> Floats:
        """Least number of each feature, shape (F,)."""
        return self.quantiles[:, 0]

    @cached_property
    def high(self) -> Floats:
        """Greatest number of each feature, shape (F,)."""
        return self.quantiles[:, -1]

    @cached_property
    def _shares_of_bins(self) -> Floats:
        """Share of each bin in the reference, shape (BINS, F)."""
        width = len(self.names)
        columns = np.repeat(np.arange(width), QUANTILES)
        bins = bins_of(self.ranks(self._flat, columns))
        return np.bincount(bins * width + columns, minlength=BINS * width).reshape(BINS, width) / QUANTILES

    @cached_property
    def bins(self) -> Floats:
        """Share of each bin in the reference, shape (BINS, F); none is zero, because values may come that it lacks."""
        return np.maximum(self._shares_of_bins, _LEAST_SHARE)

    @cached_property
    def occupied(self) -> Integers:
        """How many bins of each feature have a value, shape (F,)."""
        return np.asarray((self._shares_of_bins > 0).sum(axis=0), dtype=np.intp)

    @cached_property
    def layout(self) -> Cells:
        """Cells of all categories, column by column."""
        cells: list[dict[str, int]] = []
        rest: list[int] = []
        owner: list[int] = []
        shares: list[float] = []
        for number, reference in enumerate(self.references):
            cells.append({category: len(owner) + index for index, category in enumerate(reference.shares)})
            owner.extend([number] * len(reference.shares))
            shares.extend(reference.shares.values())
            rest.append(len(owner) if reference.shares else -1)
            if reference.shares:
                owner.append(number)
                shares.append(reference.other)
        return Cells(cells, rest, np.array(owner, dtype=np.intp), np.array(shares, dtype=np.float64))

    @cached_property
    def cells(self) -> list[dict[str, int]]:
        """For each column, category -> its cell."""
        return self.layout.of_category

    @cached_property
    def rest(self) -> list[int]:
        """For each column, the cell of all other categories; -1 for a feature without categories."""
        return self.layout.rest

    @cached_property
    def owner(self) -> Integers:
        """Column of each cell, shape (C,)."""
        return self.layout.owner

    @cached_property
    def shares(self) -> Floats:
        """Share of each cell in its reference, shape (C,)."""
        return self.layout.shares

    @cached_property
    def rests(self) -> Integers:
        """The cells of all other categories, for the features with categories."""
        return np.array([cell for cell in self.rest if cell >= 0], dtype=np.intp)

    @cached_property
    def several(self) -> Integers:
        """How many cells each feature has, shape (F,)."""
        return np.bincount(self.owner, minlength=len(self.names))

    @cached_property
    def _flat(self) -> Floats:
        return self.quantiles.ravel()

    def ranks(self, values: Floats, columns: Integers) -> Integers:
        """Return twice the mid-rank of each value in the quantiles of its column, 0 to 2 * QUANTILES, shape (n,)."""
        base = columns * QUANTILES
        flat = self._flat
        left = base.copy()
        for step in _STEPS:
            left += step * (flat[left + (step - 1)] < values)
        left += flat[left] < values  # base + number of quantiles below; at most one was left to compare
        reach = np.minimum(left, base + (QUANTILES - 1))
        ties = np.flatnonzero((left <= reach) & (flat[reach] == values))
        left -= base
        ranks = 2 * left
        if len(ties):
            right = self._right(values[ties], columns[ties])
            ranks[ties] = left[ties] + right
        return ranks

    @cached_property
    def edges(self) -> Edges:
        """Edges of the bins, for samples of mid-quantiles; computed when the first such sample comes."""
        width, every = len(self.names), np.arange(QUANTILES)
        alike = np.zeros((width, QUANTILES + 1), dtype=np.bool_)
        alike[:, 1:-1] = self.quantiles[:, 1:] == self.quantiles[:, :-1]
        first = np.maximum.accumulate(np.where(alike[:, :-1], 0, every), axis=1)
        last = np.minimum.accumulate(np.where(alike[:, 1:], QUANTILES, every + 1)[:, ::-1], axis=1)[:, ::-1]
        alone = last - first == 1
        own = self._smooth(alike)
        end = np.where(alone, own, 2 * first)
        begin = np.zeros((width, QUANTILES + 1))
        begin[:, 1:] = np.where(alone, own, 2 * last)
        begin[:, :-1] = np.where(alike[:, :-1], end, begin[:, :-1])
        begin[:, -1] = 2 * QUANTILES
        gap = np.diff(self.quantiles / 2, axis=1)
        slope = np.zeros((width, QUANTILES + 1))
        np.divide(end[:, 1:] - begin[:, 1:-1], gap, out=slope[:, 1:-1], where=gap > _LEAST_GAP)
        edge = QUANTILES // BINS * np.arange(1, BINS)
        middle = np.where(first[:, edge] + last[:, edge] >= 2 * edge, first[:, edge], last[:, edge])
        positions = 2.0 * np.where(alike[:, edge], middle, edge).T
        widths = np.diff(positions, axis=0, prepend=0.0, append=2.0 * QUANTILES)
        inverse = np.divide(2.0 * QUANTILES, widths, out=np.zeros_like(widths), where=widths > 0)
        weights = inverse[:-1] + inverse[1:]
        return Edges(positions, weights, weights.sum(axis=0), begin, slope)

    def _smooth(self, alike: NDArray[np.bool_]) -> Floats:
        """Return the position of each quantile, shape (F, QUANTILES), on lines between the middles of groups of four quantiles.

        If a reference was learned from mid-quantiles, its quantiles come in groups of four close values, a group at each
        mid-quantile; the lines smooth these steps.
        """
        own = np.broadcast_to(2.0 * np.arange(QUANTILES) + 1, self.quantiles.shape).copy()
        group = QUANTILES // POINTS
        centre = np.arange(group // 2, QUANTILES, group)
        halves = self.quantiles / 2
        middle = (halves[:, centre - 1] + halves[:, centre]) / 2
        gap = np.diff(middle, axis=1)
        # Between point masses nothing is smoothed.
        tied = np.add.reduceat(alike[:, :-1], centre, axis=1)[:, :-1] + alike[:, centre[1:]] > 0
        usable = ~tied & (gap > _LEAST_GAP)
        for step in range(group):
            here = centre[:-1] + step
            share = np.divide(halves[:, here] - middle[:, :-1], gap, out=np.zeros_like(gap), where=usable)
            own[:, here] = np.where(usable, 2.0 * (centre[:-1] + group * share), own[:, here])
        return own

    def _right(self, values: Floats, columns: Integers) -> Integers:
        """Return the number of quantiles of its column at or below each value."""
        base = columns * QUANTILES
        right = base.copy()
        for step in _STEPS:
            right += step * (self._flat[right + (step - 1)] <= values)
        right += self._flat[right] <= values
        return cast("Integers", right - base)


def bins_of(ranks: Integers) -> Integers:
    """Return the bin of each doubled mid-rank.

    >>> bins_of(np.array([0, 31, 32, 511, 512])).tolist()
    [0, 0, 1, 15, 15]
    """
    return cast("Integers", np.minimum(ranks * BINS // (2 * QUANTILES), BINS - 1))
