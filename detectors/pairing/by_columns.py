"""Pairing with columns: all records of a stretch at once, where no id is used again.

The result is that of `detectors/pairing/one_by_one.py`, in which the rules are easier to read.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Integers
from detectors.pairing.columns import Columns, Extras, Halves
from detectors.pairing.pairs import ModelPairs, pairs_of
from detectors.pairing.table import firsts
from detectors.pairing.taken import Noted, Pairing
from detectors.pairing.values import NULL, UNKNOWN


def take_columns(pairs: ModelPairs, halves: Halves, noted: Noted) -> None:
    """Take predictions and labels."""
    fresh = _add(pairs, halves.predictions, halves.extras, noted)
    labels = halves.labels
    if len(labels):
        slots = pairs.find(labels)
        ahead = (slots < 0) | (pairs.waiting.rows["offset"][slots] > labels["offset"])
        some_wait = bool(ahead.any())
        if some_wait:
            # A stored label that did not wait had a prediction: if that is gone by now, so is the label.
            _wait(pairs, labels[ahead if halves.waits is None else ahead & halves.waits], noted)
    if pairs.early.count and len(fresh):
        _meet(pairs, fresh, noted)
    if len(labels):
        if some_wait:
            slots, labels = slots[~ahead], labels[~ahead]
        _pair(pairs, slots, labels, labels["offset"], noted, early=False)


def _add(pairs: ModelPairs, rows: Columns, extras: Extras, noted: Noted) -> Integers:
    """Add the first prediction of each id that has none, and return their slots."""
    if not len(rows):
        return np.empty(0, np.int64)
    first = firsts(rows["key"])
    mine = rows if first is None else rows[first]
    new = pairs.find(mine) < 0
    added = mine if new.all() else mine[new]
    noted.count(Pairing.REPEATED, len(rows) - len(added))
    slots = pairs.waiting.add(added)
    pairs.keep(slots, added, extras, noted)
    return slots


def _wait(pairs: ModelPairs, labels: Columns, noted: Noted) -> None:
    """Let labels wait, of each id the newest one."""
    if not len(labels):
        return
    first = firsts(labels["key"][::-1])
    if first is not None:
        noted.count(Pairing.DUPLICATE, len(labels) - len(first))
        labels = labels[np.sort(len(labels) - 1 - first)]
    slots = pairs.find_early(labels)
    known = slots >= 0
    noted.count(Pairing.DUPLICATE, int(known.sum()))
    pairs.replace_waiting(slots[known], labels[known])
    pairs.begin_to_wait(labels[~known], noted)
    noted.used(labels, waits=True)


def _meet(pairs: ModelPairs, fresh: Integers, noted: Noted) -> None:
    """Pair predictions that were added with the labels that waited for them."""
    early = pairs.find_early(pairs.waiting.rows[fresh])
    met = early >= 0
    if met.any():
        labels = pairs.early.rows[early[met]]
        pairs.early.release(early[met])
        slots = fresh[met]
        _pair(pairs, slots, labels, pairs.waiting.rows["offset"][slots], noted, early=True)


def _pair(pairs: ModelPairs, slots: Integers, labels: Columns, sources: Integers, noted: Noted, *, early: bool) -> None:
    """Pair labels, in offset order, with predictions; of several labels of one prediction each is held against the one before."""
    rows = pairs.waiting.rows
    late = labels["ts"] - rows["ts"][slots] > pairs.within
    if late.any():
        noted.count(Pairing.TOO_LATE, int(late.sum()))
        slots, labels, sources = slots[~late], labels[~late], sources[~late]
    if not len(slots):
        return
    held, truth = rows[slots], labels["truth"]
    was = held["truth"].copy()
    if firsts(slots.astype(np.uint64)) is None:
        rows["truth"][slots] = truth
    else:
        order = np.argsort(slots, kind="stable")
        again = np.concatenate(([False], slots[order][1:] == slots[order][:-1]))
        before = np.concatenate((truth[:1], truth[order][:-1]))
        was[order[again]] = before[again]
        last = order[np.concatenate((~again[1:], [True]))]
        rows["truth"][slots[last]] = truth[last]
    new = was != truth
    nothing = (was == UNKNOWN) & (truth == NULL)
    made, corrected = new & ~nothing, new & (was != UNKNOWN)
    noted.count(Pairing.DUPLICATE, len(slots) - int(new.sum()))
    noted.count(Pairing.NONE, int(nothing.sum()))
    noted.count(Pairing.CORRECTED, int(corrected.sum()))
    noted.count(Pairing.JOINED, int(made.sum()) - int(corrected.sum()))
    if not early:
        noted.used(labels[new], waits=False)
    if not made.all():
        held, labels, was, sources, slots = held[made], labels[made], was[made], sources[made], slots[made]
    found = pairs_of(held, labels, was, sources)
    noted.paired(found)
    if pairs.extras:
        for slot, source in zip(slots.tolist(), found["source"].tolist(), strict=True):
            if slot in pairs.extras:
                noted.extras[source] = pairs.extras[slot]
