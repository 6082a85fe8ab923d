"""Types made for the records of one model; streams/events/record_columns.py makes columns of what they read.

A decoder that knows the names and kinds of a model's features builds no dictionary, finds a name at once if it comes
in the order of the type's fields, and builds no string for a known word.
"""

from __future__ import annotations

import enum
import struct
from abc import ABC
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal, Self, cast

import msgspec
import numpy as np

from detectors.errors import EventError
from detectors.spec import ModelSpec
from detectors.windows.block import ABSENT, Coded
from detectors.windows.feature import CATEGORIES, CATEGORY_LENGTH
from detectors.windows.row import PREDICTION, Value
from streams.events.event import MAX_ID_LENGTH, MAX_LABEL_LENGTH, MAX_NAME_LENGTH, MAX_TAG_LENGTH, MAX_TAGS
from streams.events.values import probabilities_in

_Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Number = _Integer | float | None
_Scalar = _Integer | float | str | bool | None
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)] | _Integer | None
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)] | _Integer | None
_Segment = Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] | None
_Label = _Integer | float | Annotated[str, msgspec.Meta(max_length=MAX_LABEL_LENGTH)] | bool | None
_TagName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
_Tag = _Integer | float | Annotated[str, msgspec.Meta(max_length=MAX_TAG_LENGTH)] | bool | None
_Tags = Annotated[dict[_TagName, _Tag], msgspec.Meta(max_length=MAX_TAGS)] | None

#: Types made for one model. After that, records with new names are read in the general way: such names are noise.
_MOST_TYPES = 32
#: Words of a feature that a type knows, and segments; and types made of a model until no new word makes another. From then on
#: the feature may have any text.
_MOST_WORDS, _MOST_TYPES_FOR_WORDS = CATEGORIES, 12


class _Probabilities(ABC):  # noqa: B024 - a name for `from_json`
    """Dictionaries that `from_json` checks: a prediction without them pays nothing for the check."""


_Probabilities.register(dict)


class _Predicted(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    label: _Label = None
    score: _Integer | float | msgspec.UnsetType | None = msgspec.UNSET
    value: _Integer | float | None = None
    probabilities: _Probabilities | None = None


def from_json(_kind: type[Any], value: Any) -> dict[str, float]:
    """Return the probabilities of a prediction: what decoders of these types need as `dec_hook`.

    Raises:
        ValueError: streams/events/event.py finds a fault in them.
    """
    try:
        return probabilities_in(value)
    except EventError as error:
        raise ValueError(error.reason) from None


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
#: Kinds whose values are indices of words.
CODED: frozenset[FeatureKind] = frozenset({"truth", "word"})
#: Kinds whose values are packed as doubles.
PACKED: frozenset[FeatureKind] = CODED | {"number"}


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
                ("prediction", _Predicted | _Label, None),
                ("label", _Label | msgspec.UnsetType, msgspec.UNSET),
                ("model_version", _Name, None),
                ("client", _Name, None),
                ("entity", _Id, None),
                ("tags", _Tags, None),
                # An envelope is opened the general way, which also minds the type of its time.
                ("specversion", None, None),
                ("time", str | None, None),
            ],
            tag_field="model",
            tag=self._model,
            gc=False,
        )
        coded = tuple(name for name, kind in self.kinds.items() if kind in CODED)
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


_label, _score, _probabilities = map(attrgetter, ("label", "score", "probabilities"))
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


def probabilities_of(prediction: Any) -> dict[str, float] | None:
    """Return class -> probability of a `prediction`, as streams/events/event.py does."""
    return cast("dict[str, float] | None", prediction.probabilities) if type(prediction) is _Predicted else None


def answer_columns(
    predictions: Sequence[Any],
) -> tuple[list[Value], list[Any], list[dict[str, float] | None] | None]:
    """Return (labels, scores, probabilities) of predictions as columns, by `answer_of` and `probabilities_of`.

    A score is a number or None, and no double yet. Probabilities are None if no prediction has any.
    """
    labels: list[Value]
    scores: list[Any]
    if set(map(type, predictions)) == {_Predicted}:
        labels, scores, probabilities = (list(map(get, predictions)) for get in (_label, _score, _probabilities))
        if msgspec.UNSET in scores:
            scores = [one.value if one.score is msgspec.UNSET else one.score for one in predictions]
    else:
        answers = [answer_of(one) for one in predictions]
        labels, scores = [label for label, _ in answers], [score for _, score in answers]
        probabilities = [probabilities_of(one) for one in predictions]
    return labels, scores, None if probabilities.count(None) == len(probabilities) else probabilities


def class_of(label: Value) -> Value:
    """Return a predicted label; a number with a fraction is a regressor's answer, an integer the name of a class."""
    return str(label) if type(label) is int else label
