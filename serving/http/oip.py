"""Open Inference Protocol v2: named tensors in, a row per index, label and score tensors out.

>>> body = b'{"inputs": [{"name": "amount", "datatype": "FP64", "shape": [2, 1], "data": [[12.5], [null]]}]}'
>>> [row.features for row in read_infer(body, 500).rows]
[{'amount': 12.5}, {'amount': None}]

Every tensor is one feature, of shape [n] or [n, 1]; null is a missing value. The id of a single row is the request's `id`;
several rows have the ids `id-0`, `id-1`, ... The ids come back in the output `id`, because labels are joined by them.
Tensors in binary form are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.http.body import PredictionRequest, read_object, refusal
from serving.registry.artifact import Label, Prediction
from streams.events.event import MAX_ID_LENGTH, MAX_NAME_LENGTH

#: Rows of a request are answered in the event loop, so their number is bounded.
MAX_ROWS = 1_000

#: The ids of rows are longer than the request's, by a dash and a number.
_ID_LENGTH = MAX_ID_LENGTH - 8
_FIELDS = ("id", "inputs", "outputs", "parameters")
_OUTPUTS = ("id", "label", "score")


def _is_integer(value: Any) -> bool:
    return value.__class__ is int


def _is_number(value: Any) -> bool:
    return value.__class__ in (int, float)


def _is_bool(value: Any) -> bool:
    return value.__class__ is bool


def _is_text(value: Any) -> bool:
    return value.__class__ is str


_HOLDS: dict[str, Callable[[Any], bool]] = {
    "BOOL": _is_bool,
    **{f"{sign}INT{bits}": _is_integer for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": _is_number for bits in (16, 32, 64)},
    "BYTES": _is_text,
}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Rows to be answered; `outputs` are the tensors wanted."""

    id: str | None
    rows: tuple[PredictionRequest, ...]
    outputs: tuple[str, ...]


def read_infer(body: bytes, max_features: int) -> InferRequest:
    """Return the rows in an infer body, each with `max_features` features at most.

    Raises:
        EventError: the body has a mistake; the message names the field and what to send.
    """
    fields = read_object(body, _FIELDS)
    identity = fields.get("id")
    if identity is not None and not (identity.__class__ is str and 0 < len(identity) <= _ID_LENGTH):
        raise refusal("id", f"a string of 1 to {_ID_LENGTH} characters", identity)
    inputs = fields.get("inputs")
    if inputs.__class__ is not list or not 0 < len(inputs) <= max_features:
        raise refusal("inputs", f"a list of 1 to {max_features} tensors", inputs)
    columns: dict[str, list[Any]] = {}
    for index, tensor in enumerate(inputs):
        name, data = _column(f"inputs[{index}]", tensor)
        if name in columns:
            raise refusal(f"inputs[{index}].name", "another name than the tensors before", name)
        columns[name] = data
    counts = {len(data) for data in columns.values()}
    if len(counts) != 1 or not 0 < max(counts) <= MAX_ROWS:
        raise refusal("inputs", f"tensors of one length, 1 to {MAX_ROWS}", sorted(counts))
    rows = max(counts)
    ids = [None] * rows if identity is None else [identity] if rows == 1 else [f"{identity}-{row}" for row in range(rows)]
    return InferRequest(
        id=identity,
        rows=tuple(
            PredictionRequest(features={name: data[row] for name, data in columns.items()}, id=ids[row]) for row in range(rows)
        ),
        outputs=_outputs(fields.get("outputs")),
    )


def answer_infer(request: InferRequest, model: str, version: str, ids: list[str], answers: list[Prediction]) -> dict[str, Any]:
    """Return the body of the answer; `ids` and `answers` are in the order of the request's rows."""
    tensors = {
        "id": _tensor("id", list(ids)),
        "label": _tensor("label", [answer.label for answer in answers]),
        "score": _tensor("score", [answer.score for answer in answers], "FP64"),
    }
    body: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        body["id"] = request.id
    return {**body, "outputs": [tensors[name] for name in request.outputs]}


def model_metadata(model: str, version: int | None, example: tuple[dict[str, Any], Prediction] | None) -> dict[str, Any]:
    """Return the protocol's description of a model; inputs and outputs have the types of a golden row, the `example`."""
    features, answer = example or ({}, Prediction(None))
    numbers = {"INT64": "FP64"}  # 3 in a golden row may be 3.5 in the next request
    inputs = {name: _datatype([value]) for name, value in features.items()}
    outputs = {"id": "BYTES", "label": _datatype([answer.label]), "score": "FP64"}
    return {
        "name": model,
        "versions": [] if version is None else [str(version)],
        "platform": "river",
        "inputs": [{"name": name, "datatype": numbers.get(kind, kind), "shape": [-1]} for name, kind in inputs.items()],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in outputs.items()],
    }


def _column(path: str, tensor: Any) -> tuple[str, list[Any]]:
    if tensor.__class__ is not dict:
        raise refusal(path, 'a tensor {"name", "datatype", "shape", "data"}', tensor)
    name, datatype, shape, data = (tensor.get(field) for field in ("name", "datatype", "shape", "data"))
    if name.__class__ is not str or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise refusal(f"{path}.name", f"a string of 1 to {MAX_NAME_LENGTH} characters", name)
    holds = _HOLDS.get(datatype) if datatype.__class__ is str else None
    if holds is None:
        raise refusal(f"{path}.datatype", f"one of {', '.join(_HOLDS)}", datatype)
    if data.__class__ is not list:
        raise refusal(f"{path}.data", "a list (tensors in binary form are not taken)", data)
    if shape not in ([len(data)], [len(data), 1]):
        raise refusal(f"{path}.shape", f"[{len(data)}] or [{len(data)}, 1], as there are values", shape)
    values = [value[0] if value.__class__ is list and len(value) == 1 else value for value in data]
    for index, value in enumerate(values):
        if value is not None and not holds(value):
            raise refusal(f"{path}.data[{index}]", f"a value of {datatype} or null", value)
    return name, values


def _outputs(wanted: Any) -> tuple[str, ...]:
    if wanted is None:
        return _OUTPUTS
    if wanted.__class__ is not list:
        raise refusal("outputs", f"a list of tensors among {', '.join(_OUTPUTS)}", wanted)
    names: list[str] = []
    for index, output in enumerate(wanted):
        name = output.get("name") if output.__class__ is dict else None
        if name not in _OUTPUTS:
            raise refusal(f"outputs[{index}].name", f"one of {', '.join(_OUTPUTS)}", name)
        names.append(name)
    return tuple(dict.fromkeys(names)) or _OUTPUTS


def _tensor(name: str, data: list[Any], datatype: str | None = None) -> dict[str, Any]:
    kind = datatype or _datatype(data)
    if kind == "BYTES":
        data = [None if value is None else value if isinstance(value, str) else str(value) for value in data]
    return {"name": name, "datatype": kind, "shape": [len(data)], "data": data}


def _datatype(values: list[Label]) -> str:
    kinds = {value.__class__ for value in values if value is not None}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds and kinds <= {int, float} else "BYTES"
