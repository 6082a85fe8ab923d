"""Pairs of the join as records of the outcomes topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from detectors.arrays import Floats
from detectors.pairing.columns import Columns
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.taken import TakenPairs
from detectors.pairing.values import UNKNOWN
from streams.events.identified import Extra, decode_extra
from streams.records.outcomes import OutcomeColumns

#: Outcomes of one record: some 115 bytes each, and a record has at most 512 KB.
MOST_OUTCOMES = 3_000

T = TypeVar("T")


def outcome_columns(model: str, partition: int, pairs: ModelPairs, taken: TakenPairs, ids: Sequence[str]) -> list[OutcomeColumns]:
    """Return what a stretch of events was joined to, as few records.

    Args:
        model: its name.
        partition: of the events.
        pairs: of the model; they have the words of the columns.
        taken: the stretch.
        ids: of the pairs.
    """
    n = len(taken.pairs)
    extras: list[Extra | None] | None = None
    if taken.extras:
        kept = (taken.extras.get(source) for source in taken.pairs["source"].tolist())
        extras = [None if extra is None else decode_extra(extra) for extra in kept]
    step = MOST_OUTCOMES if extras is None else MOST_OUTCOMES // 8
    return [
        _columns(
            model,
            partition,
            pairs,
            taken.pairs[low : low + step],
            share=None if taken.share is None else taken.share[low : low + step],
            ids=ids[low : low + step],
            extras=None if extras is None else extras[low : low + step],
        )
        for low in range(0, n, step)
    ]


def _columns(
    model: str,
    partition: int,
    pairs: ModelPairs,
    rows: Columns,
    *,
    share: Floats | None,
    ids: Sequence[str],
    extras: Sequence[Extra | None] | None,
) -> OutcomeColumns:
    whats = rows["what"].tolist()
    known = {code: pairs.whats.values_of([code])[0] for code in set(whats)}
    label_whats = rows["label_what"].tolist()
    clients = {code: pairs.clients.values_of([code])[0] for code in set(label_whats)}
    scores = rows["score"]
    corrects = rows["was"] != UNKNOWN
    values = pairs.boxes.values_of
    return OutcomeColumns(
        model=model,
        partition=partition,
        id=list(ids),
        ts=rows["label_ts"].tolist(),
        predicted_at=rows["ts"].tolist(),
        label=_unless(None, values(np.ascontiguousarray(rows["answer"]))),
        score=_scores(scores),
        truth=values(np.ascontiguousarray(rows["truth"])),
        at=rows["offset"].tolist(),
        source=rows["source"].tolist(),
        segment=_looked_up("", {code: what.segment for code, what in known.items()}, whats),
        model_version=_looked_up(None, {code: what.model_version for code, what in known.items()}, whats),
        corrects=corrects.tolist() if corrects.any() else None,
        was=values(np.ascontiguousarray(rows["was"])) if corrects.any() else None,
        share=None if share is None else _unless(1.0, share.tolist()),
        client=_looked_up(None, {code: what.client for code, what in known.items()}, whats),
        label_client=_looked_up(None, clients, label_whats),
        entity=None if extras is None else _unless(None, [None if extra is None else extra.entity for extra in extras]),
        probabilities=None
        if extras is None
        else _unless(None, [None if extra is None else extra.probabilities for extra in extras]),
        groups=None if extras is None else _unless(None, [None if extra is None else extra.groups for extra in extras]),
        v=2,
    )


def _scores(scores: Floats) -> list[float | None] | None:
    missing = np.isnan(scores)
    if missing.all():
        return None
    found: list[float | None] = scores.tolist()
    for place in np.flatnonzero(missing).tolist():
        found[place] = None
    return found


def _looked_up(default: T, values: Mapping[int, T], codes: list[int]) -> list[T] | None:
    """Return the values of codes, None if all are the default."""
    if all(value == default for value in values.values()):
        return None
    return list(map(values.__getitem__, codes))


def _unless(default: T, column: Iterable[T]) -> list[T] | None:
    """Return the column, None if it has nothing but a default."""
    found = list(column)
    return None if found.count(default) == len(found) else found
