"""Types made for the records of one model, and the columns that its records make.

A decoder that knows the names and kinds of a model's features is half as quick again as a general one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain, starmap
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from detectors.block import ABSENT, Columns, Flags, columns
from detectors.row import PREDICTION, PREDICTION_LABEL, PREDICTION_SCORE, Value
from detectors.sample import Floats
from detectors.spec import ModelSpec
from streams.events import MAX_ID_LENGTH, MAX_NAME_LENGTH

_Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Number = _Integer | float | None
_Scalar = _Integer | float | str | bool | None
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)] | _Integer | None
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)] | _Integer | None
_Segment = Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] | None

#: Types made for one model until its names are taken for noise and what is new goes the general way.
_MOST_TYPES = 64


class _Predicted(msgspec.Struct, gc=False):
    label: _Scalar = None
    score: _Integer | float | msgspec.UnsetType | None = msgspec.UNSET
    value: _Integer | float | None = None


class Learned:
    """What has been seen of one model's features, and the type made of it."""

    __slots__ = ("categorical", "empty", "limit", "model", "names", "numeric", "row", "types_made", "wire")

    def __init__(self, spec: ModelSpec) -> None:
        self.model = spec.name
        self.categorical = frozenset(spec.categorical)
        self.limit = spec.max_features
        #: Name -> only numbers so far, in the order in which the sender writes them.
        self.names: dict[str, bool] = {}
        self.numeric = True
        self.row = struct.Struct("")
        self.types_made = 0
        self.wire: type[Any] | None = None
        self.empty: Any = None

    def learn(self, features: Mapping[str, Value]) -> bool:
        """Take the features of a record that went the general way; tell whether there is anything new."""
        new = False
        for name, value in features.items():
            number = not isinstance(value, (str, bool)) and name not in self.categorical
            known = self.names.get(name)
            if known is None:
                if len(self.names) >= self.limit or not _nameable(name):
                    continue
            elif number or not known:
                continue
            self.names[name] = number
            new = True
        return new and self.types_made < _MOST_TYPES

    def make(self) -> type[Any]:
        """Return a type for the records of the model."""
        self.types_made += 1
        places = {f"f{place}": name for place, name in enumerate(self.names)}
        fields = [(place, _Number if self.names[name] else _Scalar, ABSENT) for place, name in places.items()]
        features = msgspec.defstruct("Features", fields, rename=places, forbid_unknown_fields=True, gc=False)
        self.numeric = all(self.names.values())
        self.row = struct.Struct(f"={len(self.names)}d")
        self.empty = features()
        self.wire = msgspec.defstruct(
            "Record",
            [
                ("v", Literal[1] | None, None),
                ("type", Literal["prediction", "features", "label", "tick"] | None, None),
                ("id", _Id, None),
                ("ts", str | _Integer | float | None, None),
                ("segment", _Segment, None),
                ("features", features | None, None),
                ("prediction", _Predicted | _Scalar, None),
                ("label", _Scalar | msgspec.UnsetType, msgspec.UNSET),
                ("model_version", _Name, None),
                # An envelope is opened the general way.
                ("specversion", None, None),
            ],
            tag_field="model",
            tag=self.model,
            gc=False,
        )
        return self.wire


#: Makes a union of the types of the models, so that a record without a model fits none of them.
NoModel = msgspec.defstruct("NoModel", [], tag_field="model", tag="", gc=False)


def _nameable(name: str) -> bool:
    """Tell whether a name may be a field: no type can hold a quote, and the prediction's names are ours."""
    return name not in PREDICTION and not any(char in '"\\' or char < " " for char in name)


def answer_of(prediction: Any) -> tuple[Value, float | None]:
    """Return (label, score) of a `prediction`, as streams/events.py does."""
    if type(prediction) is _Predicted:
        score = prediction.value if prediction.score is msgspec.UNSET else prediction.score
        return prediction.label, None if score is None else float(score)
    if type(prediction) is float:
        return None, prediction
    return prediction, None


def class_of(label: Value) -> Value:
    """Return a predicted label; a number with a fraction is a regressor's answer, an integer the name of a class."""
    return str(label) if type(label) is int else label


def predicted_columns(predictions: list[Any]) -> Columns:
    """Return what was predicted as columns of the pseudo-features."""
    pairs = [answer_of(prediction) for prediction in predictions]
    labels: list[Value] = [ABSENT if label is None else class_of(label) for label, _ in pairs]
    scores: list[Value] = [ABSENT if score is None else score for _, score in pairs]
    # Nobody predicted one: no column, as no row has it.
    named = [(name, column) for name, column in ((PREDICTION_LABEL, labels), (PREDICTION_SCORE, scores)) if _any_in(column)]
    return columns(named, len(pairs))


def _any_in(column: list[Value]) -> bool:
    return any(value is not ABSENT for value in column)


def feature_columns(learned: Learned, features: list[Any]) -> Columns:
    """Return the columns of features; those with only numbers are known, and no value of theirs is looked at for its type."""
    if learned.numeric:
        names = tuple(learned.names)
        matrix = np.ascontiguousarray(_flat(learned.row, features).reshape(len(features), len(names)).T)
        return Columns(names, matrix, {}, _absent(names, matrix, features, range(len(names))))
    values = list(zip(*map(msgspec.structs.astuple, features), strict=True))
    plain = [place for place, number in enumerate(learned.names.values()) if number]
    every = list(learned.names)
    names = tuple(every[place] for place in plain)
    matrix = np.empty((len(plain), len(features)))
    for row, place in enumerate(plain):
        matrix[row] = np.fromiter(values[place], np.float64, len(features))
    mixed = (
        (name, _categories(column) if name in learned.categorical else column)
        for (name, number), column in zip(learned.names.items(), values, strict=True)
        if not number
    )
    others = columns(mixed, len(features))
    return Columns(names, matrix, {}, _absent(names, matrix, features, plain)).beside(others)


def _flat(row: struct.Struct, features: list[Any]) -> Floats:
    """Return all values of all records, one after the other."""
    try:
        return np.frombuffer(b"".join(starmap(row.pack, map(msgspec.structs.astuple, features))))
    except (struct.error, OverflowError):  # there is a null
        every = chain.from_iterable(map(msgspec.structs.astuple, features))
        return np.fromiter(every, np.float64, row.size // 8 * len(features))


def _absent(names: tuple[str, ...], matrix: Floats, features: list[Any], places: Sequence[int]) -> dict[str, Flags]:
    """Return where the features of the matrix's rows are absent; `places` are those of their fields."""
    absent: dict[str, Flags] = {}
    for row in np.flatnonzero(np.isnan(matrix).any(axis=1)).tolist():
        field = f"f{places[row]}"
        flags = np.fromiter((getattr(one, field) is ABSENT for one in features), bool, len(features))
        if flags.any():
            absent[names[row]] = flags
    return absent


def _categories(column: Sequence[Value]) -> list[Value]:
    """Return the values with numbers as the names of categories."""
    return [str(value) if type(value) in (int, float) and value is not ABSENT else value for value in column]
