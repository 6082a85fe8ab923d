"""Types made for the records of one model, and the columns of its records.

A decoder that knows the names and kinds of a model's features builds no dictionary, finds a name at once if it comes
in the order of the type's fields, and builds no string for a known word.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, starmap
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats
from detectors.spec import ModelSpec
from detectors.windows.block import ABSENT, Coded, Columns, columns, named_columns
from detectors.windows.feature import CATEGORIES, CATEGORY_LENGTH
from detectors.windows.row import PREDICTION, PREDICTION_LABEL, PREDICTION_SCORE, Value
from streams.events.event import MAX_ID_LENGTH, MAX_NAME_LENGTH

_Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Number = _Integer | float | None
_Scalar = _Integer | float | str | bool | None
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)] | _Integer | None
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)] | _Integer | None
_Segment = Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] | None

#: Types made for one model. After that, records with new names are read in the general way: such names are noise.
_MOST_TYPES = 32
#: Words of a feature that a type knows, and segments; and types made of a model until no new word makes another. From then on
#: the feature may have any text.
_MOST_WORDS, _MOST_TYPES_FOR_WORDS = CATEGORIES, 12


class _Predicted(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    label: _Scalar = None
    score: _Integer | float | msgspec.UnsetType | None = msgspec.UNSET
    value: _Integer | float | None = None


#: Among more names than this, searching one that comes out of order costs more than building a dictionary of all.
_WIDE = 64

#: Values of a feature so far: numbers only, false or true, one of few words, texts that a window keeps whole, or anything.
FeatureKind = Literal["number", "truth", "word", "text", "any"]
_TYPES: dict[FeatureKind, Any] = {
    "number": _Number,
    "truth": bool | None,
    "text": Annotated[str, msgspec.Meta(max_length=CATEGORY_LENGTH)] | None,
    "any": _Scalar,
}
_CODED: frozenset[FeatureKind] = frozenset({"truth", "word"})
#: Kinds whose values are packed as doubles.
_PACKED: frozenset[FeatureKind] = _CODED | {"number"}


class Word(float, enum.Enum):
    """A word that a type knows, as its index among the known words: so a record of words is packed like a record of numbers."""

    def __new__(cls, place: int, word: str) -> Self:
        """Make the word with that index."""
        made = float.__new__(cls, place)
        made._value_ = word
        return made


@dataclass(frozen=True, slots=True)
class RecordType:
    """A type made for the records of one model.

    Args:
        wire: the type; the fields of its `features` are f0, f1 and so on.
        model: name of the model.
        names: feature of each field, in the sender's order.
        kinds: kind of each field.
        coded: names of the features that are false or true, or words, and the values of each.
        categorical: features whose numbers are names of categories.
        loose: whether the features are a dictionary, because senders write them in different orders.
        empty: features of a record that has none.
        row: packs a record's features, if no value needs a check.
    """

    wire: type[Any]
    model: str
    names: tuple[str, ...]
    kinds: tuple[FeatureKind, ...]
    coded: Coded
    categorical: frozenset[str]
    loose: bool
    empty: Any
    row: struct.Struct

    @property
    def needs_order(self) -> bool:
        """Whether names in another order would cost much."""
        return not self.loose and len(self.names) > _WIDE

    def places(self, kinds: Collection[FeatureKind]) -> list[int]:
        """Return the indices of the fields of these kinds."""
        return [place for place, kind in enumerate(self.kinds) if kind in kinds]


class RecordSchema:
    """The features of one model that were seen so far."""

    __slots__ = (
        "_categorical",
        "_limit",
        "_loose",
        "_model",
        "_only_null",
        "_segments",
        "_types_made",
        "_word_types",
        "_words",
        "kinds",
    )

    def __init__(self, spec: ModelSpec) -> None:
        self._model = spec.name
        self._categorical = frozenset(spec.categorical)
        self._limit = spec.max_features
        self._types_made = 0
        self._loose = False
        self._only_null: set[str] = set()
        #: Feature -> kind, in the order in which the sender writes them.
        self.kinds: dict[str, FeatureKind] = {}
        #: Feature -> its words, and the type made of them.
        self._words: dict[str, list[str]] = {}
        self._word_types: dict[str, Any] = {}
        #: None once there are too many.
        self._segments: list[str] | None = []

    def learn(self, segment: str, features: Mapping[str, Value]) -> bool:
        """Learn from a record that was read in the general way; return whether to make a new type."""
        new = False
        if segment and self._segments is not None and segment not in self._segments:
            self._segments = [*self._segments, segment] if self._takes_word(self._segments) else None
            new = True
        for name, value in features.items():
            known = self.kinds.get(name)
            if known is None and (len(self.kinds) >= self._limit or not _nameable(name)):
                continue
            if value is None and known is None:
                self._only_null.add(name)
            elif value is not None and name in self._only_null:  # a null says nothing about later values
                self._only_null.discard(name)
                known = None
            kind: FeatureKind = "any" if name in self._categorical else _kind_of(value, known)
            if kind == "word" and value is not None and value not in (words := self._words.setdefault(name, [])):
                if self._takes_word(words):
                    words.append(str(value))
                    self._word_types.pop(name, None)
                    new = True
                else:
                    kind = "text"
            if kind != self.kinds.get(name):
                self.kinds[name] = kind
                new = True
        return new and self._types_made < _MOST_TYPES

    def learn_order(self, names: Iterable[str]) -> bool:
        """Learn from the names of a record, in its order; return whether to make a new type."""
        order = {name: place for place, name in enumerate(self.kinds)}
        places = [order[name] for name in names if name in order]
        if self._loose or places == sorted(places):
            return False
        self._loose = True
        return True

    def _takes_word(self, words: Sequence[str]) -> bool:
        return len(words) < _MOST_WORDS and self._types_made < _MOST_TYPES_FOR_WORDS

    def make(self) -> RecordType:
        """Return a type for the records of the model."""
        self._types_made += 1
        places = {f"f{place}": name for place, name in enumerate(self.kinds)}
        fields = [(place, self._type_of(name), ABSENT) for place, name in places.items()]
        features: Any
        if self._loose:
            numeric = set(self.kinds.values()) == {"number"}
            features = dict[str, _Number] if numeric else dict[str, _Scalar]
        else:
            features = msgspec.defstruct("Features", fields, rename=places, forbid_unknown_fields=True, gc=False)
        wire = msgspec.defstruct(
            "Record",
            [
                ("v", Literal[1] | None, None),
                ("type", Literal["prediction", "features", "label", "tick", "outcome_tick"] | None, None),
                ("id", _Id, None),
                ("ts", str | _Integer | float | None, None),
                # Of known ones a record holds the very same string, whose hash is known.
                ("segment", Literal["", *self._segments] | None if self._segments else _Segment, None),
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
        coded = tuple(name for name, kind in self.kinds.items() if kind in _CODED)
        return RecordType(
            wire=wire,
            model=self._model,
            names=tuple(self.kinds),
            kinds=tuple(self.kinds.values()),
            coded=Coded(coded, tuple(tuple(self._words.get(name, (False, True))) for name in coded), np.empty((len(coded), 0))),
            categorical=self._categorical,
            loose=self._loose,
            empty=features(),
            row=struct.Struct(f"={len(self.kinds)}d"),
        )

    def _type_of(self, name: str) -> Any:
        kind = self.kinds[name]
        if kind != "word":
            return _TYPES[kind]
        if name not in self._word_types:
            words: Any = Word
            self._word_types[name] = words("Word", {f"w{place}": (place, word) for place, word in enumerate(self._words[name])})
        return self._word_types[name] | None


def _kind_of(value: Value, known: FeatureKind | None) -> FeatureKind:
    """Return the kind of a feature after one more value."""
    if value is None:
        return known or "number"
    kind: FeatureKind = "number"
    if isinstance(value, str):
        kind = "any" if len(value) > CATEGORY_LENGTH else "text" if known == "text" else "word"
    elif isinstance(value, bool):
        kind = "truth"
    return kind if known in (None, kind) else "any"


#: Makes a union of the types of the models, so that a record without a model fits none of them.
NoModel = msgspec.defstruct("NoModel", [], tag_field="model", tag="", gc=False)


def _nameable(name: str) -> bool:
    """Return whether a name may be a field: a type cannot have a quote in it, and the pseudo-features are ours."""
    return name not in PREDICTION and not any(char in '"\\' or char < " " for char in name)


def answer_of(prediction: Any) -> tuple[Value, float | None]:
    """Return (label, score) of a `prediction`, as streams/events/event.py does."""
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
    packed, numeric, coded = kind.places(_PACKED), kind.places({"number"}), kind.places(_CODED)
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
