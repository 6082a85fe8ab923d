"""Pairing: predictions and labels of one model in one partition make pairs.

Rules:
1. The first prediction of an id counts. A later one is a repeat, unless it is more than `within` after the first: then the
   id is used again, and the earlier prediction is forgotten.
2. The newest label by offset counts. One that is equal to the label before says nothing; another one corrects it. A label
   more than `within` after its prediction is too late, and changes nothing.
3. A null label says that there will never be one. It makes no pair, unless it takes an earlier label back.
4. A label before its prediction waits for it, the newest one of an id. The pair comes from the later of the two records,
   its `source`; so each record makes one pair at most.
5. What is expired or beyond the sample is not there (detectors/pairing/bounds.py). A label that expires while it waits
   is foreign: nobody predicted its id.
6. What comes out is a function of the records in offset order, wherever they are cut. Ids know nothing of each other: a
   stretch of records is taken at once with columns, but for ids that are used again within it. Those are taken one by
   one, and so is a short stretch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.pairing.by_columns import take_columns
from detectors.pairing.columns import Columns, Halves
from detectors.pairing.one_by_one import take_one_by_one
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.table import firsts
from detectors.pairing.taken import Noted, Pairing, TakenPairs

#: Stretches of fewer records are taken one by one: NumPy's price is by the call.
_SHORT = 12


def take(pairs: ModelPairs, halves: Halves) -> TakenPairs:
    """Take a stretch of the log, between two looks, and return what it led to.

    >>> from detectors.pairing.columns import LABEL, PREDICTION
    >>> from detectors.pairing.values import UNKNOWN
    >>> prediction = np.array([(5, 0, 0, 1, 100.0, 0.5, 7, UNKNOWN)], PREDICTION)
    >>> label = np.array([(5, 0, 0, 2, 130.0, 8)], LABEL)
    >>> take(ModelPairs(within=60.0), Halves(prediction, label)).pairs["source"].tolist()
    [2]
    """
    noted = Noted()
    for rows in (halves.predictions, halves.labels):
        if len(rows):
            pairs.newest = max(pairs.newest, float(rows["ts"].max()))
    records = len(halves)
    halves = _sampled(pairs, halves, noted)
    if len(halves) < _SHORT:
        take_one_by_one(pairs, halves, noted)
    else:
        again = _used_again(pairs, halves.predictions)
        if len(again):
            apart = [np.isin(rows["key"], again) for rows in (halves.predictions, halves.labels)]
            take_one_by_one(pairs, halves.where(apart[0], apart[1]), noted)
            halves = halves.where(~apart[0], ~apart[1])
        take_columns(pairs, halves, noted)
    pairs.sweep(noted, records)
    taken = noted.taken()
    taken.share = pairs.bounds.share(taken.pairs["offset"])
    return taken


def _sampled(pairs: ModelPairs, halves: Halves, noted: Noted) -> Halves:
    """Return what is in the sample."""
    kept, kept_labels = (pairs.bounds.kept(rows["key"]) for rows in (halves.predictions, halves.labels))
    if kept is None or kept_labels is None:
        return halves
    noted.count(Pairing.SAMPLED_OUT, int((~kept_labels).sum()))
    return halves.where(kept, kept_labels)


def _used_again(pairs: ModelPairs, rows: Columns) -> NDArray[np.uint64]:
    """Return the keys that have predictions more than `within` apart, in the table or here."""
    keys: NDArray[np.uint64] = rows["key"]
    if not len(rows):
        return keys
    slots = pairs.find(rows)
    again: NDArray[np.uint64] = keys[(slots >= 0) & (rows["ts"] - pairs.waiting.rows["ts"][slots] > pairs.within)]
    if firsts(keys) is None:
        return again
    order = np.argsort(keys, kind="stable")
    keys, ts = keys[order], rows["ts"][order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    apart = np.maximum.reduceat(ts, starts) - np.minimum.reduceat(ts, starts) > pairs.within
    found: NDArray[np.uint64] = np.concatenate([again, keys[starts][apart]])
    return found
