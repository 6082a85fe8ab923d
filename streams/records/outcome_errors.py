"""Errors of outcomes as rows of windows: predictions and true labels, column by column -> a block.

Rules:
1. The first known label of a prediction counts, in the window of that label. A correction reopens no window. A label that was
   taken back, and given again, counts once more.
2. An error beyond a double counts as missing, as every infinity does.

Worker and replay make their rows here, so both count the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import ne
from typing import Any

import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.windows.block import Block, Coded, Columns
from detectors.windows.row import ERROR, Value
from streams.records.outcomes import error_between


def block_of_errors(
    model: str,
    *,
    sources: Integers,
    ts: Floats,
    segments: Sequence[str] | None,
    errors: Floats,
    counts: Flags,
    share: Floats | None,
) -> Block | None:
    """Return the rows of the outcomes that count and have an error; None without any.

    Args:
        model: its name.
        sources: offsets of the rows, growing, shape (n,).
        ts: event times of the labels, epoch seconds; of the same shape, as all others.
        segments: of the predictions; None if all are "".
        errors: by `errors_between`.
        counts: whether each outcome is the first known label of its prediction, and no repeat.
        share: part of all predictions that each outcome stands for; None if they are no sample.
    """
    places = np.flatnonzero(counts & ~np.isnan(errors))
    if not len(places):
        return None
    if segments is not None and len(places) < len(sources):
        segments = [segments[place] for place in places.tolist()]
    found = errors[places]
    found[np.isinf(found)] = np.nan
    return Block(
        model,
        offsets=sources[places],
        ts=ts[places],
        segments=segments if segments is not None and any(segments) else None,
        ticks=None,
        columns=Columns((ERROR,), found[None, :], Coded((), (), np.empty((0, len(places)))), {}, {}, {}),
        share=None if share is None else share[places],
    )


def errors_between(labels: Sequence[Value] | None, scores: Sequence[float | None] | None, truths: Sequence[Value]) -> Floats:
    """Return the errors of outcomes by `error_between`, NaN where there is none, shape (n,).

    >>> errors_between([True, True], None, [True, False]).tolist()
    [0.0, 1.0]
    """
    n = len(truths)
    predicted: set[type[Any]] = set() if labels is None else set(map(type, labels))
    true = set(map(type, truths))
    with np.errstate(over="ignore"):  # rule 2
        if labels is not None and predicted == true and len(true) == 1:
            kind = true.pop()
            if kind in (bool, str, int):
                return np.fromiter(map(ne, labels, truths), np.float64, n)
            if kind is float:
                return np.abs(np.array(labels, np.float64) - np.array(truths, np.float64))
        if labels is None and true <= {bool, int, float} and scores is not None:
            return np.abs(np.array(scores, np.float64) - np.array(truths, np.float64))
    nothing = [None] * n
    errors = map(error_between, labels or nothing, scores or nothing, truths)
    return np.array([np.nan if error is None else error for error in errors], np.float64)
