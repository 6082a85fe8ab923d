"""Columns of values -> a stretch: times are parsed, rows without one become faults, labels are compared with predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detectors.arrays import Floats
from detectors.errors import EventError
from detectors.windows.block import Block, Columns, columns
from detectors.windows.row import ERROR, Value
from driftline.readers.roles import Roles
from driftline.readers.stretch import RowFault, Stretch
from streams.events.event import MAX_NAME_LENGTH, event_time
from streams.events.record_columns import predicted_columns
from streams.events.record_types import answer_of
from streams.records.outcomes import error_between

#: Epoch seconds beyond any time: a file has no broker whose clock an event could be ahead of.
_NO_CLOCK = math.inf


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows of a table, column by column; all of one length.

    Args:
        offset: index of the first row in the file.
        line_of: index in the table -> line of the file.
        times: as written in the file.
        segments: names, None for a row without one; None without such a column.
        predictions: None without such a column; so are `labels`.
    """

    offset: int
    line_of: Callable[[int], int]
    columns: Columns
    times: Sequence[Value]
    segments: Sequence[Value] | None = None
    predictions: Sequence[Value] | None = None
    labels: Sequence[Value] | None = None


def stretch_of(roles: Roles, table: Table, faults: Sequence[RowFault] = ()) -> Stretch:
    """Return the rows of a table as a stretch; `faults` are those of rows that are not in the table."""
    n = len(table.times)
    ts, wrong = _instants(roles, table)
    segments, long = _segments(table)
    bad = {**wrong, **long}
    found = sorted([*faults, *bad.values()], key=lambda fault: fault.line)
    if len(bad) == n:
        return Stretch(n + len(faults), [], [], found)
    columns = table.columns
    if table.predictions is not None:
        columns = columns.beside(predicted_columns(list(table.predictions)))
    block = Block(
        roles.model.name,
        offsets=np.arange(table.offset, table.offset + n),
        ts=ts,
        segments=segments,
        ticks=None,
        columns=columns,
    )
    outcomes = _outcomes(roles, table, block, bad)
    if bad:
        block = block.rows_at(np.array([place for place in range(n) if place not in bad]))
    return Stretch(n + len(faults), [block], outcomes, found)


def matrix(names: Sequence[str], arrays: Sequence[Floats], rows: int) -> Columns:
    """Return columns of numbers, each of shape (rows,); a missing value is NaN, and there are no infinities."""
    return replace(columns((), rows), names=tuple(names), numbers=np.array(arrays) if arrays else np.empty((0, rows)))


def _instants(roles: Roles, table: Table) -> tuple[Floats, dict[int, RowFault]]:
    """Return the event times, epoch seconds, and index -> fault of the rows without one."""
    found = np.zeros(len(table.times))
    faults: dict[int, RowFault] = {}
    for place, at in enumerate(table.times):
        try:
            found[place] = instant(at)
        except EventError as error:
            faults[place] = RowFault(table.line_of(place), error.reason, f"{roles.time}: {error.detail}")
    return found, faults


def instant(at: Value) -> float:
    """Return the epoch seconds that a value means.

    Raises:
        EventError: it is no time.
    """
    if at is None:
        raise EventError("wrong_time", "", "expected a time, got nothing")
    if isinstance(at, bool):
        raise EventError("wrong_time", "", f"expected a time, got {at}")
    return event_time(at, _NO_CLOCK)


def _segments(table: Table) -> tuple[list[str] | None, dict[int, RowFault]]:
    if table.segments is None:
        return None, {}
    names = ["" if name is None else str(name) for name in table.segments]
    faults = {
        place: RowFault(
            table.line_of(place), "wrong_length", f"segment: expected at most {MAX_NAME_LENGTH} characters, got {len(name)}"
        )
        for place, name in enumerate(names)
        if len(name) > MAX_NAME_LENGTH
    }
    return names if any(names) else None, faults


def _outcomes(roles: Roles, table: Table, block: Block, bad: dict[int, RowFault]) -> list[Block]:
    """Return the errors of the rows that have a prediction and a label."""
    if table.predictions is None or table.labels is None:
        return []
    places: list[int] = []
    errors: list[float] = []
    for place, (prediction, truth) in enumerate(zip(table.predictions, table.labels, strict=True)):
        error = error_between(*answer_of(prediction), truth)
        if error is not None and place not in bad:
            places.append(place)
            errors.append(error)
    if not places:
        return []
    order, found = np.array(places), np.array(errors)
    found[np.isinf(found)] = np.nan  # a difference beyond a double: missing, as every infinity
    return [
        Block(
            roles.model.name,
            offsets=block.offsets[order],
            ts=block.ts[order],
            segments=None if block.segments is None else [block.segments[place] for place in places],
            ticks=None,
            columns=matrix((ERROR,), (found,), len(places)),
        )
    ]
