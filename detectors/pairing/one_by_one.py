"""Pairing of one record at a time: for ids that are used again within a stretch, and for stretches of few records.

The result is that of `detectors/pairing/by_columns.py`.
"""

from __future__ import annotations

import numpy as np

from detectors.pairing.columns import Columns, Extras, Halves
from detectors.pairing.pairs import ModelPairs, pairs_of
from detectors.pairing.taken import Noted, Pairing
from detectors.pairing.values import NULL, UNKNOWN


def take_one_by_one(pairs: ModelPairs, halves: Halves, noted: Noted) -> None:
    """Take predictions and labels in offset order."""
    predictions, labels = halves.predictions, halves.labels
    for place in np.argsort(np.concatenate([predictions["offset"], labels["offset"]]), kind="stable").tolist():
        if place < len(predictions):
            _prediction(pairs, predictions[place : place + 1], halves.extras, noted)
        else:
            at = place - len(predictions)
            _label(pairs, labels[at : at + 1], noted, may_wait=halves.waits is None or bool(halves.waits[at]))


def _slot(pairs: ModelPairs, row: Columns) -> int:
    """Return the slot of the prediction with the id of a row, -1 without one."""
    slot = pairs.waiting.find_one(int(row["key"][0]), int(row["check"][0]))
    if slot >= 0 and not pairs.bounds.is_alive(int(row["key"][0]), int(pairs.waiting.rows["offset"][slot])):
        pairs.forget(np.array([slot]))
        return -1
    return slot


def _early_slot(pairs: ModelPairs, row: Columns) -> int:
    """Return the slot of the label that waits for the id of a row, -1 without one."""
    slot = pairs.early.find_one(int(row["key"][0]), int(row["check"][0])) if pairs.early.count else -1
    alive = slot >= 0 and pairs.bounds.is_alive(int(row["key"][0]), int(pairs.early.rows["offset"][slot]))
    return slot if alive else -1


def _prediction(pairs: ModelPairs, row: Columns, extras: Extras, noted: Noted) -> None:
    slot = _slot(pairs, row)
    if slot >= 0:
        if float(row["ts"][0]) - float(pairs.waiting.rows["ts"][slot]) <= pairs.within:
            noted.count(Pairing.REPEATED, 1)
            return
        pairs.forget(np.array([slot]))
    slots = pairs.waiting.add(row)
    pairs.keep(slots, row, extras, noted)
    early = _early_slot(pairs, row)
    if early >= 0:
        label = pairs.early.rows[early : early + 1].copy()
        pairs.early.release(np.array([early]))
        _pair(pairs, int(slots[0]), label, int(row["offset"][0]), noted)


def _label(pairs: ModelPairs, label: Columns, noted: Noted, *, may_wait: bool) -> None:
    slot = _slot(pairs, label)
    if slot >= 0:
        if _pair(pairs, slot, label, int(label["offset"][0]), noted):
            noted.used(label, waits=False)
        return
    if not may_wait:
        return
    early = _early_slot(pairs, label)
    if early >= 0:
        noted.count(Pairing.DUPLICATE, 1)
        pairs.replace_waiting(np.array([early]), label)
    else:
        pairs.begin_to_wait(label, noted)
    noted.used(label, waits=True)


def _pair(pairs: ModelPairs, slot: int, label: Columns, source: int, noted: Noted) -> bool:
    """Pair a label with a prediction; return whether it says something new."""
    held = pairs.waiting.rows[slot : slot + 1]
    if float(label["ts"][0]) - float(held["ts"][0]) > pairs.within:
        noted.count(Pairing.TOO_LATE, 1)
        return False
    was, truth = held["truth"][0], label["truth"][0]
    if was == truth:
        noted.count(Pairing.DUPLICATE, 1)
        return False
    held["truth"][0] = truth
    if was == UNKNOWN and truth == NULL:
        noted.count(Pairing.NONE, 1)
        return True
    noted.count(Pairing.JOINED if was == UNKNOWN else Pairing.CORRECTED, 1)
    noted.paired(pairs_of(held, label, np.array([was]), np.array([source])))
    if slot in pairs.extras:
        noted.extras[source] = pairs.extras[slot]
    return True
