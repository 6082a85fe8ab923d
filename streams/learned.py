"""Types made for the records of one model, and the columns that its records make.

A decoder that knows the names and kinds of a model's features makes no dictionary of them, and finds a name at once
where it comes in the order of the type's fields.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, starmap
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from detectors.block import ABSENT, Columns, Flags, columns
from detectors.columns import CATEGORY_LENGTH
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


class _Predicted(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    label: _Scalar = None
    score: _Integer | float | msgspec.UnsetType | None = msgspec.UNSET
    value: _Integer | float | None = None


#: What a feature has been so far: numbers only, texts that a window keeps whole, or anything.
FeatureKind = Literal["number", "text", "any"]
_TYPES: dict[FeatureKind, Any] = {
    "number": _Number,
    "text": Annotated[str, msgspec.Meta(max_length=CATEGORY_LENGTH)] | None,
    "any": _Scalar,
}


@dataclass(frozen=True, slots=True)
class RecordType:
    """A type made for the records of one model.

    Args:
        wire: the type; the fields of its `features` are f0, f1 and so on.
        names: of these fields, in the sender's order.
        kinds: of these fields.
        categorical: features whose numbers are names of categories.
        empty: features of a record that has none.
        row: packs a record's features when all are numbers.
    """

    wire: type[Any]
    model: str
    names: tuple[str, ...]
    kinds: tuple[FeatureKind, ...]
    categorical: frozenset[str]
    empty: Any
    row: struct.Struct


class Learned:
    """What has been seen of one model's features."""

    __slots__ = ("_categorical", "_limit", "_model", "_types_made", "kinds")

    def __init__(self, spec: ModelSpec) -> None:
        self._model = spec.name
        self._categorical = frozenset(spec.categorical)
        self._limit = spec.max_features
        self._types_made = 0
        #: Name -> what it has been, in the order in which the sender writes them.
        self.kinds: dict[str, FeatureKind] = {}

    def learn(self, features: Mapping[str, Value]) -> bool:
        """Take the features of a record that went the general way; tell whether a new type is worth making."""
        new = False
        for name, value in features.items():
            known = self.kinds.get(name)
            if known is None and (len(self.kinds) >= self._limit or not _nameable(name)):
                continue
            kind = "any" if name in self._categorical else _kind_of(value, known)
            if kind != known:
                self.kinds[name] = kind
                new = True
        return new and self._types_made < _MOST_TYPES

    def make(self) -> RecordType:
        """Return a type for the records of the model."""
        self._types_made += 1
        places = {f"f{place}": name for place, name in enumerate(self.kinds)}
        fields = [(place, _TYPES[self.kinds[name]], ABSENT) for place, name in places.items()]
        features = msgspec.defstruct("Features", fields, rename=places, forbid_unknown_fields=True, gc=False)
        wire = msgspec.defstruct(
            "Record",
            [
                ("v", Literal[1] | None, None),
                ("type", Literal["prediction", "features", "label", "tick", "outcome_tick"] | None, None),
                ("id", _Id, None),
                ("ts", str | _Integer | float | None, None),
                ("segment", _Segment, None),
                ("features", features | None, None),
                ("prediction", _Predicted | _Scalar, None),
                ("label", _Scalar | msgspec.UnsetType, msgspec.UNSET),
                ("model_version", _Name, None),
                # An envelope is opened the general way, which also minds the type of its time.
                ("specversion", None, None),
                ("time", str | None, None),
            ],
            tag_field="model",
            tag=self._model,
            gc=False,
        )
        return RecordType(
            wire=wire,
            model=self._model,
            names=tuple(self.kinds),
            kinds=tuple(self.kinds.values()),
            categorical=self._categorical,
            empty=features(),
            row=struct.Struct(f"={len(self.kinds)}d"),
        )


def _kind_of(value: Value, known: FeatureKind | None) -> FeatureKind:
    """Return what a feature is after one more value."""
    if value is None:
        return known or "number"
    kind: FeatureKind = "number"
    if isinstance(value, str):
        kind = "text" if len(value) <= CATEGORY_LENGTH else "any"
    elif isinstance(value, bool):
        kind = "any"
    return kind if known in (None, kind) else "any"


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


def feature_columns(kind: RecordType, features: list[Any]) -> Columns:
    """Return the columns of features; whose kind is known, no value of theirs is looked at."""
    if set(kind.kinds) == {"number"}:
        matrix = np.ascontiguousarray(_flat(kind.row, features).reshape(len(features), len(kind.names)).T)
        return Columns(kind.names, matrix, {}, {}, _absent(kind.names, matrix, features, range(len(kind.names))))
    values = [list(map(attrgetter(f"f{place}"), features)) for place in range(len(kind.names))]
    places: dict[FeatureKind, list[int]] = {"number": [], "text": [], "any": []}
    for place, of in enumerate(kind.kinds):
        places[of].append(place)
    names = tuple(kind.names[place] for place in places["number"])
    matrix = np.empty((len(names), len(features)))
    for row, place in enumerate(places["number"]):
        matrix[row] = np.fromiter(values[place], np.float64, len(features))
    absent = _absent(names, matrix, features, places["number"])
    texts = {kind.names[place]: values[place] for place in places["text"]}
    absent |= {name: flags for name, column in texts.items() if (flags := _missing(column)) is not None}
    found = Columns(names, matrix, texts, {}, absent)
    if not places["any"]:
        return found
    named = [(kind.names[place], values[place]) for place in places["any"]]
    mixed = [(name, _categories(column) if name in kind.categorical else column) for name, column in named]
    return found.beside(columns(mixed, len(features)))


def _missing(texts: list[Any]) -> Flags | None:
    """Return where texts are absent, None when none is."""
    try:
        "".join(texts)  # the quickest way to learn that all are texts
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
