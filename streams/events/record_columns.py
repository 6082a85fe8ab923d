"""Columns of the records that were read with the type of their model (streams/events/record_types.py)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, starmap
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats
from detectors.windows.block import ABSENT, Columns, columns, named_columns
from detectors.windows.row import PREDICTION_LABEL, PREDICTION_SCORE, Value
from streams.events.record_types import CODED, PACKED, RecordType, answer_of, class_of


def predicted_columns(predictions: list[Any]) -> Columns:
    """Return predictions as columns of the pseudo-features."""
    pairs = [answer_of(prediction) for prediction in predictions]
    labels: list[Value] = [ABSENT if label is None else class_of(label) for label, _ in pairs]
    scores: list[Value] = [ABSENT if score is None else score for _, score in pairs]
    # Without a value there is no column, as there is none in a row.
    named = [(name, column) for name, column in ((PREDICTION_LABEL, labels), (PREDICTION_SCORE, scores)) if _any_in(column)]
    return columns(named, len(pairs))


def _any_in(column: list[Value]) -> bool:
    return any(value is not ABSENT for value in column)


def feature_columns(kind: RecordType, features: list[Any]) -> Columns:
    """Return the columns of features; values of a known kind need no check."""
    n = len(features)
    if kind.loose:
        return _loose_columns(kind, features)
    packed, numeric, coded = kind.places(PACKED), kind.places({"number"}), kind.places(CODED)
    fields: dict[int, list[Any]] = {}
    if len(packed) == len(kind.names):
        matrix = np.ascontiguousarray(_flat(kind.row, features).reshape(n, len(packed)).T)
        numbers, codes = matrix[numeric] if coded else matrix, matrix[coded]
    else:
        fields = {place: list(map(attrgetter(f"f{place}"), features)) for place in range(len(kind.names))}
        numbers, codes = _doubles(fields, numeric, n), _doubles(fields, coded, n)
    texts = {kind.names[place]: fields[place] for place in kind.places({"text"})}
    absent = _absent(kind, features, zip(numeric, numbers, strict=True)) | _absent(kind, features, zip(coded, codes, strict=True))
    absent |= {name: flags for name, column in texts.items() if (flags := _missing(column)) is not None}
    names = kind.names if len(numeric) == len(kind.names) else tuple(kind.names[place] for place in numeric)
    found = Columns(names, numbers, replace(kind.coded, codes=codes), texts, {}, absent)
    others = [(kind.names[place], fields[place]) for place in kind.places({"any"})]
    if not others:
        return found
    mixed = [(name, _categories(column) if name in kind.categorical else column) for name, column in others]
    return found.beside(columns(mixed, n))


def _loose_columns(kind: RecordType, features: list[dict[str, Any]]) -> Columns:
    """Return the columns of features that are dictionaries."""
    n, names = len(features), kind.names
    if set(kind.kinds) == {"number"} and len(names) > 1:
        try:
            flat = np.frombuffer(b"".join(starmap(kind.row.pack, map(itemgetter(*names), features))))
        except (KeyError, struct.error, OverflowError):  # one is absent or null
            pass
        else:
            matrix = np.ascontiguousarray(flat.reshape(n, -1).T)
            return Columns(names, matrix, replace(kind.coded, codes=np.empty((0, n))), {}, {}, {})
    named = named_columns(features)
    return columns(((name, _categories(column) if name in kind.categorical else column) for name, column in named), n)


def _doubles(fields: Mapping[int, list[Any]], places: Sequence[int], n: int) -> Floats:
    """Return some fields of n records as a matrix, shape (fields, n)."""
    matrix = np.empty((len(places), n))
    for row, place in enumerate(places):
        matrix[row] = np.fromiter(fields[place], np.float64, n)
    return matrix


def _missing(texts: list[Any]) -> Flags | None:
    """Return where texts are absent, None when none is."""
    try:
        "".join(texts)  # the fastest test that all are texts
    except TypeError:
        flags = np.array([text is ABSENT for text in texts])
        return flags if flags.any() else None
    return None


def _flat(row: struct.Struct, features: list[Any]) -> Floats:
    """Return all values of all records, one after the other."""
    try:
        return np.frombuffer(b"".join(starmap(row.pack, map(msgspec.structs.astuple, features))))
    except (struct.error, OverflowError):  # there is a null
        every = chain.from_iterable(map(msgspec.structs.astuple, features))
        return np.fromiter(every, np.float64, row.size // 8 * len(features))


def _absent(kind: RecordType, features: list[Any], rows: Iterable[tuple[int, Floats]]) -> dict[str, Flags]:
    """Return feature -> flags where it is absent; `rows` are (index of a field, its values, NaN where one is missing)."""
    absent: dict[str, Flags] = {}
    for place, values in rows:
        if not np.isnan(values).any():
            continue
        field = f"f{place}"
        flags = np.fromiter((getattr(one, field) is ABSENT for one in features), bool, len(features))
        if flags.any():
            absent[kind.names[place]] = flags
    return absent


def _categories(column: Sequence[Value]) -> list[Value]:
    """Return the values with numbers as the names of categories."""
    return [str(value) if type(value) in (int, float) and value is not ABSENT else value for value in column]
