"""An artifact: one trained model with the metadata that make it trustworthy, as bytes and back.

Rules:
1. `load` takes only payloads of `Store.get_blob`, which has checked the signature. So nothing is unpickled that this
   deployment did not sign. Only the registry calls it.
2. The header is read before the pickle. Another layout, or another minor version of River or of Python, is refused there:
   River objects may behave differently after such a change.
3. Golden rows are features with the model's answers at the time of publishing. After loading the model answers them again;
   if an answer differs, the loaded model is not the one that was tested, and it is refused.

Layout: `b"DLM1"`, length of the header (4 bytes, big endian), header (JSON), model (pickle protocol 5).
"""

from __future__ import annotations

import math
import pickle
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed
from typing import Any, Literal

import orjson
from river.base import Regressor
from river.compose import Pipeline

from detectors.errors import ModelError

Features = Mapping[str, Any]
Label = bool | int | float | str | None
Task = Literal["classifier", "regressor"]

_RIVER = installed("river")
_PYTHON = platform.python_version()
_MAGIC = b"DLM1"
_LENGTH = struct.Struct(">I")
_BODY = len(_MAGIC) + _LENGTH.size
#: Scores may differ in the last bits between machines, never more.
_RELATIVE = 1e-9
_BOTH = frozenset((False, True))  # equal to 0 and 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer: `label` is of the type of the true labels, `score` a probability or None.

    The label of a regressor is its number, and it has no score. The score of a classifier over False/True (or 0/1) is the
    probability of True; of any other classifier, the probability of the label. A model without `predict_proba_one` has no
    score. An untrained classifier may answer None.
    """

    label: Label
    score: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return `{"label": ..., "score": ...}`."""
        return {"label": self.label, "score": self.score}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model with its metadata; `version` is 0 until the registry has published it."""

    #: Any object with `predict_one`; `predict_proba_one` and `learn_one` are optional.
    model: Any
    #: Epoch seconds; of a trained model, event time of the newest row that it learned.
    created_at: float
    kind: Task
    golden: tuple[tuple[dict[str, Any], Prediction], ...] = ()
    #: Request and rows that it was made from; JSON-able.
    lineage: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    #: The version that was served when it was trained, None if none was.
    parent: int | None = None
    river_version: str = _RIVER
    python_version: str = _PYTHON

    def numbered(self, version: int) -> Artifact:
        """Return the same artifact under a version."""
        return replace(self, version=version)


def kind_of(model: Any) -> Task:
    """Return "regressor" for River's regressors (and pipelines that end in one), else "classifier"."""
    return "regressor" if isinstance(_last_step(model), Regressor) else "classifier"


def predict(model: Any, features: Features) -> Prediction:
    """Return the model's answer to one row.

    A null feature is given to the model as None; a model that cannot take None gets the row without it.

    Raises:
        ModelError: the model cannot answer for these features.
    """
    try:
        return _answer(model, features)
    except Exception as error:  # noqa: BLE001 - a model is foreign code: each of its errors means that it cannot answer
        known = {name: value for name, value in features.items() if value is not None}
        if len(known) == len(features):
            raise _unanswered(error) from None
    try:
        return _answer(model, known)
    except Exception as error:  # noqa: BLE001 - as above
        raise _unanswered(error) from None


def golden_rows(model: Any, rows: Iterable[Features]) -> tuple[tuple[dict[str, Any], Prediction], ...]:
    """Return each row with the model's answer to it, for `Artifact.golden`.

    Raises:
        ModelError: the model cannot answer a row.
    """
    return tuple((dict(features), predict(model, features)) for features in rows)


def dump(artifact: Artifact) -> bytes:
    """Return the artifact as bytes, to be signed.

    Raises:
        ModelError: the model cannot be pickled, or its metadata are not JSON-able.
    """
    header = {
        "version": artifact.version,
        "parent": artifact.parent,
        "created_at": artifact.created_at,
        "kind": artifact.kind,
        "river_version": artifact.river_version,
        "python_version": artifact.python_version,
        "lineage": artifact.lineage,
        "golden": [[features, answer.as_json()] for features, answer in artifact.golden],
    }
    try:
        head = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise ModelError(f"artifact header: {error}; lineage and golden rows must be JSON-able") from None
    try:
        body = pickle.dumps(artifact.model, protocol=5)
    except Exception as error:  # noqa: BLE001 - pickling runs foreign code, which may raise anything
        raise ModelError(
            f"artifact: a {type(artifact.model).__name__} cannot be pickled ({error}); "
            "keep lambdas and open files out of the model, define its classes in an importable module"
        ) from None
    return _MAGIC + _LENGTH.pack(len(head)) + head + body


def load(payload: bytes) -> Artifact:
    """Return the artifact in a payload whose signature has been verified.

    Raises:
        ModelError: another layout, another River or Python, a pickle that does not load, or golden
            rows that are answered differently.
    """
    header = _header(payload)
    _check_versions(header)
    try:
        model = pickle.loads(memoryview(payload)[_BODY + header["length"] :])  # noqa: S301 - verified by Store.get_blob
    except Exception as error:  # noqa: BLE001 - unpickling runs foreign code, which may raise anything
        raise ModelError(
            f"artifact {header['version']}: the model does not unpickle ({type(error).__name__}: {error}); "
            "install the package that defines it here too, or roll back to another version"
        ) from None
    artifact = Artifact(
        model=model,
        created_at=header["created_at"],
        kind=header["kind"],
        golden=tuple((features, Prediction(**answer)) for features, answer in header["golden"]),
        lineage=header["lineage"],
        version=header["version"],
        parent=header["parent"],
        river_version=header["river_version"],
        python_version=header["python_version"],
    )
    _check_golden(artifact)
    return artifact


def _header(payload: bytes) -> dict[str, Any]:
    if len(payload) < _BODY or payload[: len(_MAGIC)] != _MAGIC:
        raise ModelError(
            f"artifact: layout {bytes(payload[:4])!r}, this Driftline reads {_MAGIC!r}; publish the model again with this version"
        )
    length = _LENGTH.unpack_from(payload, len(_MAGIC))[0]
    try:
        header: dict[str, Any] = orjson.loads(payload[_BODY : _BODY + length])
    except orjson.JSONDecodeError as error:
        raise ModelError(f"artifact header: {error}; publish the model again") from None
    header["length"] = length
    return header


def _check_versions(header: dict[str, Any]) -> None:
    for name, made_with, here in (
        ("River", header["river_version"], _RIVER),
        ("Python", header["python_version"], _PYTHON),
    ):
        if _minor(made_with) != _minor(here):
            raise ModelError(
                f"artifact {header['version']}: made with {name} {made_with}, this process runs {here}; "
                f"install {name} {_minor(made_with)} here, or let the retrainer publish a version made with {_minor(here)}"
            )


def _check_golden(artifact: Artifact) -> None:
    for row, (features, promised) in enumerate(artifact.golden):
        given = predict(artifact.model, features)
        if not (_same(given.label, promised.label) and _same(given.score, promised.score)):
            raise ModelError(
                f"artifact {artifact.version}: golden row {row} was answered {promised.as_json()} when it was published "
                f"and {given.as_json()} now; keep serving the old version and publish this one again"
            )


def _answer(model: Any, features: Features) -> Prediction:
    label = _label(model.predict_one(features))
    last = _last_step(model)
    if isinstance(last, Regressor) or not hasattr(last, "predict_proba_one"):
        return Prediction(label)
    try:
        chances = model.predict_proba_one(features)
    except NotImplementedError:  # a River classifier that gives no probabilities
        return Prediction(label)
    if not chances:
        return Prediction(label)
    if chances.keys() <= _BOTH:
        return Prediction(label, _number(chances.get(True, 0.0)))
    return Prediction(label, _number(chances.get(label)))


def _last_step(model: Any) -> Any:
    while isinstance(model, Pipeline):
        model = next(reversed(model.steps.values()))
    return model


def _label(value: Any) -> Label:
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, bool | str) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63):
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _label(value.item())
    raise TypeError(f"predict_one gave a {type(value).__name__}; expected a bool, a 64-bit number, a string or None")


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _same(given: Label, promised: Label) -> bool:
    if isinstance(given, float) and isinstance(promised, int | float):
        return math.isclose(given, promised, rel_tol=_RELATIVE, abs_tol=_RELATIVE)
    return given == promised


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _unanswered(error: Exception) -> ModelError:
    return ModelError(
        f"the model cannot answer for these features ({type(error).__name__}: {error}); check their names and types"
    )
