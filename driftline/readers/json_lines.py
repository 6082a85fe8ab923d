"""JSON Lines -> stretches: rows of a table, one flat object a line, or events as they stand on the events topic.

Rules:
1. The decoder of the workers (streams/events/decoding.py) reads the events, so both refuse the same events. But a missing
   time is a fault here, because a file has no broker whose clock could stand in.
2. In rows NaN and infinities are missing values; Python writes them, although JSON has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from detectors.spec import ModelSpec
from detectors.windows.block import ABSENT, columns
from detectors.windows.row import Value
from driftline.readers.opened import Opened
from driftline.readers.pairs import FilePairs
from driftline.readers.roles import Roles
from driftline.readers.rows import Table, stretch_of
from driftline.readers.stretch import LabelCount, RowFault, Stretch
from streams.events.decoding import Decoding

#: Lines of one stretch.
LINES = 8192
#: The broker's clock of an event in a file, milliseconds: after every time, so nothing is ahead of it, and itself no time.
_NO_CLOCK_MS = 10**18
_TOO_LONG = "expected a line of at most 1 MiB"
_NESTED = (dict, list)


def read_json_rows(file: Opened, roles: Roles, *, lines: int = LINES) -> Iterator[Stretch]:
    """Yield the rows of a file in which each line is one flat object.

    Raises:
        ConfigError: there are too many features, or one has a name that cannot be used.
    """
    offset = 0
    known: set[str] = set()
    feed = file.lines()
    while read := list(islice(feed, lines)):
        faults: list[RowFault] = []
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        for number, line in read:
            row = _row(line)
            if isinstance(row, str):
                faults.append(RowFault(number, "not_json", row))
                continue
            wrong = _nested(row, roles)
            if wrong is not None:
                faults.append(RowFault(number, "nested", wrong))
                continue
            rows.append(row)
            numbers.append(number)
        features = dict.fromkeys(name for row in rows for name in row if name and not roles.is_apart(name))
        if not features.keys() <= known:
            known |= features.keys()
            roles.check([*known], file.name)
        yield stretch_of(roles, _table(roles, rows, list(features), offset, numbers), faults)
        offset += len(rows)


def _row(line: bytes | None) -> dict[str, Any] | str:
    """Return the object in a line, or a sentence that says why there is none."""
    if line is None:
        return _TOO_LONG
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            # Through orjson again: NaN and infinities become null, and what is no Unicode is refused.
            found = orjson.loads(orjson.dumps(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            return f"expected a JSON object, got something else ({error})"
    return found if isinstance(found, dict) else f"expected a JSON object, got {type(found).__name__}"


def _nested(row: Mapping[str, Any], roles: Roles) -> str | None:
    """Return a sentence about the first list or object in a row, None without one."""
    if not any(isinstance(value, _NESTED) for value in row.values()):
        return None
    named = next((name for name, value in row.items() if isinstance(value, _NESTED) and name not in roles.ignored), None)
    return None if named is None else f"{named[:80]}: expected a number, string, boolean or null: flatten it, or --ignore it"


def _table(roles: Roles, rows: Sequence[Mapping[str, Value]], features: list[str], offset: int, numbers: list[int]) -> Table:
    named = ((name, _column(rows, name, categorical=name in roles.model.categorical)) for name in features)
    return Table(
        offset=offset,
        line_of=numbers.__getitem__,
        columns=columns(named, len(rows)),
        times=[row.get(roles.time or "") for row in rows],
        segments=None if roles.segment is None else [row.get(roles.segment) for row in rows],
        predictions=None if roles.prediction is None else [row.get(roles.prediction) for row in rows],
        labels=None if roles.label is None else [row.get(roles.label) for row in rows],
    )


def _column(rows: Sequence[Mapping[str, Value]], name: str, *, categorical: bool) -> list[Value]:
    values = [row.get(name, ABSENT) for row in rows]
    if categorical:
        return [str(value) if type(value) in (int, float) and value is not ABSENT else value for value in values]
    return values


def read_events(
    file: Opened, models: Mapping[str, ModelSpec], *, only: str | None = None, lines: int = LINES
) -> Iterator[Stretch]:
    """Yield the events of a file in which each line is one, of all models or of one only."""
    decoding = Decoding(models)
    pairs = FilePairs(models)
    offset = 0
    feed = file.lines()
    while read := list(islice(feed, lines)):
        values = [line for _, line in read]
        found = decoding.decode(range(offset, offset + len(read)), [_NO_CLOCK_MS] * len(read), values)
        faults = [
            RowFault(
                read[letter.offset - offset][0],
                *_explained(letter.error.reason, str(letter.error), values[letter.offset - offset]),
            )
            for letter in found.dead
        ]
        blocks = [block for block in found.blocks if only in (None, block.model)]
        outcomes = [block for block in pairs.blocks(found) if only in (None, block.model)]
        yield Stretch(len(read), blocks, outcomes, faults, _of_one(pairs.labels(), only))
        offset += len(read)


def _of_one(labels: Mapping[str, LabelCount], only: str | None) -> dict[str, LabelCount]:
    return {model: count for model, count in labels.items() if only in (None, model)}


def _explained(reason: str, detail: str, line: bytes | None) -> tuple[str, str]:
    """Return reason and detail of a fault in words that fit a file."""
    if line is None:
        return "too_large", _TOO_LONG
    if reason == "wrong_time" and detail.endswith(str(_NO_CLOCK_MS / 1000.0)):
        return reason, "ts: expected a time, got nothing: in a file there is no broker whose clock stands in"
    return reason, detail
