"""The published schemas: what the decoder takes is what the event schema says, and what is written fits its schema."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from importlib import resources
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from river import linear_model

from detectors.incidents.alert import Alert
from detectors.incidents.decision import RetrainResult
from detectors.incidents.retrain import Request
from detectors.model.finding import ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.outlier import Outliers
from detectors.reference.feature_reference import learn_reference
from detectors.spec import ModelSpec, ReferenceSpec, RetrainSpec, shapes_of
from detectors.windows.record import Window, WindowShape
from detectors.windows.row import Row
from detectors.windows.windows import Windows
from retrainer.candidate import Candidate
from retrainer.gate import decide
from retrainer.swap import Swaps
from retrainer.training_set import Example, TrainingSet, TrainingTopics
from retrainer.trial import Proof, TrialResult
from serving.registry.artifact import Task
from serving.registry.versions import Registry
from streams.events.event import tick
from streams.kafka import Sender
from streams.records import cloudevents
from streams.records.outcomes import Outcome, OutcomeColumns, OutcomeTick, PredictionValue, SourceOffset, encode, parse
from streams.records.swap_event import cloud_event
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.state.store import Store
from tests.support.records import NOW, NOW_MS, Fetched, decode

pytestmark = pytest.mark.fast

#: Kind and version of each schema.
SCHEMAS = (("event", 1), ("alert", 1), ("outlier", 1), ("retrain", 1), ("swap", 1), ("outcome", 1), ("outcome", 2))
MODELS = {"m": ModelSpec("m", max_features=10**6)}
#: Reasons that rest on the configuration, the clock or the bytes, which a schema of JSON values cannot express.
BEYOND = {"unknown_model", "wrong_time", "future", "too_large", "too_deep", "empty", "not_json", "too_many_features", "wrong_sum"}


def schema(kind: str, version: int = 1) -> dict[str, Any]:
    """Return a published schema, read as an installed package has it."""
    file = resources.files("streams").joinpath("schemas", f"{kind}.v{version}.json")
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def validator(kind: str, version: int = 1) -> jsonschema.Draft202012Validator:
    """Return what checks values against a published schema."""
    return jsonschema.Draft202012Validator(schema(kind, version))


EVENT = validator("event")


@pytest.mark.parametrize(("kind", "version"), SCHEMAS)
def test_each_schema_is_sound_and_its_examples_fit(kind: str, version: int) -> None:
    """Every schema is valid JSON Schema 2020-12, has an id, a title and examples, and those validate."""
    found = schema(kind, version)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$id"] == f"urn:driftline:schema:{kind}:v{version}"
    assert found["title"]
    assert found["examples"]
    for example in found["examples"]:
        validator(kind, version).validate(example)


def test_the_examples_of_the_event_schema_are_events() -> None:
    """What the event schema shows is taken by the decoder."""
    models = {"fraud": ModelSpec("fraud")}
    examples = schema("event")["examples"]
    values = [Fetched(json.dumps(example).encode(), number, NOW_MS + 7_200_000) for number, example in enumerate(examples)]
    events, dead = decode(values, models)
    assert dead == []
    assert [event.kind for event in events] == ["features", "prediction", "label", "label", "features"]


# -- the event schema and the decoder --------------------------------------------------------------

_NUMBERS = st.deferred(
    lambda: st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from((10**320, -(10**320), 2**70, 0))
)
_SCALARS = st.none() | st.booleans() | _NUMBERS | st.text(max_size=5)
_OTHERS = st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=3), st.none(), max_size=2)
_ANY = st.deferred(lambda: _SCALARS | _OTHERS)
_NAMES = st.text(max_size=4) | st.sampled_from(("", "n" * 128, "n" * 129))
_FEATURES = st.dictionaries(_NAMES, _SCALARS | _SCALARS | _SCALARS | _OTHERS, max_size=3)
_TEXTS = st.sampled_from(("t" * 128, "é" * 129, "l" * 256, "l" * 257))
_TAGS = st.dictionaries(_NAMES, _SCALARS | _SCALARS | _TEXTS | _OTHERS, max_size=3) | st.sampled_from(
    [{str(number): number for number in range(size)} for size in (20, 21)]
)
_SHARES = st.dictionaries(
    _NAMES, st.sampled_from((0, 0.5, 0.25, 1, 1.0, 1.5, -0.1, True, None, "1")), max_size=3
) | st.sampled_from([{str(number): 1 / size for number in range(size)} for size in (1, 3, 100, 101)])
_PREDICTIONS = (
    _SCALARS
    | _TEXTS
    | st.fixed_dictionaries(
        {}, optional={"label": _ANY | _TEXTS, "score": _ANY, "value": _ANY, "probabilities": _SHARES | _ANY, "junk": _ANY}
    )
)


def _text(most: int) -> st.SearchStrategy[Any]:
    limits = st.deferred(lambda: st.sampled_from(("x" * most, "é" * most, "x" * (most + 1), "")))
    return st.text(max_size=4) | st.integers(-9, 10**20) | limits


def _mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what is usual three times of four, and anything else of JSON otherwise."""
    return st.deferred(lambda: st.one_of(usual, usual, usual, _ANY))


def _strictly(fields: dict[str, Any]) -> dict[str, Any]:
    """Make whole floats integers where an integer is asked for: JSON Schema takes 1.0 for one, the decoder does not."""
    return {
        name: int(value) if name in _INTEGERS and isinstance(value, float) and value.is_integer() else value
        for name, value in fields.items()
    }


_INTEGERS = frozenset(("v", "id", "model_version", "client", "entity"))


_FIELDS = {
    "v": _mostly(st.sampled_from((1, None, 2, True))),
    "type": _mostly(st.sampled_from(("prediction", "features", "label", "label", "tick", None, "other"))),
    "id": _mostly(_text(256)),
    "ts": _mostly(st.just(NOW) | st.just("2026-11-21T07:30:00Z")),
    "model_version": _mostly(_text(128)),
    "segment": _mostly(_text(128)),
    "features": _mostly(_FEATURES),
    "prediction": _mostly(_PREDICTIONS),
    "label": _mostly(_SCALARS | _TEXTS),
    "client": _mostly(_text(128)),
    "entity": _mostly(_text(256)),
    "tags": _mostly(_TAGS),
    "time": _mostly(st.just("2026-11-21T07:30:00Z")),
}
_EVENTS = st.fixed_dictionaries({}, optional={"model": _mostly(st.just("m")), **_FIELDS}).map(_strictly)
#: Of the event that an envelope's own attributes look like only the types are read.
_SMALL = st.integers(0, 9) | st.text(max_size=4) | st.none()
_ENVELOPES = st.fixed_dictionaries(
    {"specversion": st.just("1.0")},
    optional={
        "id": _mostly(_text(256)),
        "time": _mostly(st.just("2026-11-21T07:30:00Z")),
        "type": st.just("com.example.scored"),
        "segment": _SMALL,
        "data": st.one_of(_EVENTS, _EVENTS, _ANY, st.just({"specversion": "1.0", "model": "m", "features": {"x": 1}})),
    },
).map(_strictly)


@pytest.mark.slow
@effort(max_examples=1500, deadline=None)
@given(_EVENTS | _ENVELOPES | _ANY)
def test_the_decoder_takes_what_the_schema_takes(value: Any) -> None:
    """What is decoded validates, and what is a dead letter for its shape does not: both ways, on anything JSON can say."""
    events, dead = decode([Fetched(json.dumps(value).encode())], MODELS)
    faults = [error.message for error in EVENT.iter_errors(value)]
    if events:
        assert not faults, faults
    elif dead[0].error.reason not in BEYOND:
        assert faults, dead[0].error


def test_ticks_fit_the_event_schema_too() -> None:
    """What Driftline writes to the events topic itself is described as well."""
    EVENT.validate(json.loads(tick("m", NOW)))


# -- what is written ---------------------------------------------------------------------------------


def told(seed: int = 3) -> list[Alert | Request | ReferenceLearned]:
    """Return what the judge finds in rows whose features change for good."""
    spec = ModelSpec(
        "m",
        factory="a:b",
        window_seconds=60.0,
        reference=ReferenceSpec(seconds=3600.0, min_windows=24),
        retrain=RetrainSpec(cooldown_seconds=3600.0),
    )
    draw = random.Random(seed)
    rows: list[Row] = []
    for number in range(9000):
        late = number >= 5000
        values = {
            "x": draw.gauss(9.0 if late else 0.0, 1.0),
            "colour": draw.choice(("blue", "new") if late else ("red", "blue")),
            "y": None if late and draw.random() < 0.5 else draw.random(),
        }
        rows.append(Row(number, "m", 2.0 * number, "", values))
    windows = Windows("features", source=0, sources=1, shapes={"m": _shape(spec)})
    monitor = ModelMonitor.begin(spec)
    return [finding for record in windows.add_rows(rows).records for finding in monitor.add(record)]


def _shape(spec: ModelSpec) -> WindowShape:
    return shapes_of({"m": spec}, "features")["m"]


def _described(schema: dict[str, Any], data: dict[str, Any]) -> None:
    """Every field that is written is named in its schema."""
    properties = {**schema.get("properties", {}), **schema.get("then", {}).get("properties", {})}
    assert set(data) <= set(properties)


def test_alerts_and_requests_of_the_judge_fit_their_schemas() -> None:
    """Alerts and retrain requests from real detectors, as CloudEvents on the wire, validate and have no undescribed field."""
    found = told()
    kinds = {Alert: ("alert", cloudevents.ALERT), Request: ("retrain", cloudevents.RETRAIN)}
    seen = set()
    for finding in found:
        if isinstance(finding, ReferenceLearned):
            continue
        kind, type_ = kinds[type(finding)]
        data = cloudevents.decode(cloudevents.encode(type_, finding.id, "m", NOW, msgspec.to_builtins(finding)), type_)["data"]
        validator(kind).validate(data)
        _described(schema(kind), data)
        if isinstance(finding, Alert):
            _described(schema(kind)["properties"]["features"]["items"], data["features"][0])
        seen.add(kind)
    assert seen == {"alert", "retrain"}


def test_outliers_fit_their_schema() -> None:
    """An outlier event from a real reference validates."""
    windows = Windows("features", source=0, sources=1, shapes={"m": _shape(ModelSpec("m"))})
    rows = [Row(number, "m", number / 10, "", {"x": float(number % 97)}) for number in range(1200)]
    written = [record for record in windows.add_rows(rows).records if isinstance(record, Window)]
    reference = learn_reference([[window.features["x"]] for window in written])
    outliers = Outliers(partition=1, window_seconds=60.0, beyond=6.0, per_window=10)
    for value in (1e9, -(10**15), np.finfo(np.float64).max):
        _, outlier = outliers.find(Row(7, "m", NOW, "", {"x": float(value)}), "0123456789abcdef", {"x": reference})
        assert outlier is not None
        data = json.loads(cloudevents.encode(cloudevents.OUTLIER, outlier.id, "m", NOW, msgspec.to_builtins(outlier)))["data"]
        validator("outlier").validate(data)
        _described(schema("outlier"), data)


_PAIR = Outcome(id="a", model="m", ts=2.0, predicted_at=1.0, prediction=PredictionValue(), label=True, source=SourceOffset(0, 0))
_FULL = Outcome(
    id="a",
    model="m",
    segment="eu",
    ts=2.0,
    predicted_at=1.0,
    model_version="7",
    prediction=PredictionValue(12.5, 0.5),
    label=None,
    source=SourceOffset(3, 9),
    at=4,
    corrects=True,
    was=9.0,
    share=0.25,
    client="c",
    label_client="l",
    entity="e",
    probabilities={"a": 0.5, "b": 0.5},
    groups={"channel": "web", "attempt": 2, "none": None},
)
_COLUMNS = OutcomeColumns(
    model="m",
    partition=3,
    id=["a", "b"],
    ts=[2.0, 3.0],
    predicted_at=[1.0, 1.0],
    truth=[True, None],
    at=[4, 5],
    source=[9, 11],
    v=2,
)
_FULL_COLUMNS = msgspec.structs.replace(
    _COLUMNS,
    label=["x", None],
    score=[None, 0.5],
    segment=["eu", ""],
    model_version=["7", None],
    corrects=[False, True],
    was=[None, 2],
    share=[1.0, 0.5],
    client=["c", None],
    label_client=[None, "l"],
    entity=["e", None],
    probabilities=[{"x": 1.0}, None],
    groups=[None, {"channel": "web"}],
)


@pytest.mark.parametrize(
    "record",
    [_PAIR, _FULL, _COLUMNS, _FULL_COLUMNS, OutcomeTick("m", 5.0, 91), OutcomeTick("m", 5.0)],
    ids=lambda record: type(record).__name__,
)
def test_outcomes_fit_their_schema(record: Outcome | OutcomeColumns | OutcomeTick) -> None:
    """Outcomes, columns of them and ticks, as they are written, validate, have no undescribed field, and are read back."""
    data = json.loads(encode(record))
    validator("outcome", 2).validate(data)
    described = schema("outcome", 2)["$defs"][data["type"]]
    _described(described, data)
    if record in (_FULL, _FULL_COLUMNS):
        assert set(data) == set(described["properties"])
    assert parse(encode(record)) == record


def test_columns_that_a_reader_does_not_know_harm_no_schema() -> None:
    """Fields may be added to each form of a record of outcomes."""
    for record in (_FULL, _FULL_COLUMNS, OutcomeTick("m", 5.0, 91)):
        data = {**json.loads(encode(record)), "added": [1, 2]}
        validator("outcome", 2).validate(data)
        assert parse(msgspec.json.encode(data)) == record


def test_the_outcomes_of_version_1_fit_their_schema_and_are_read() -> None:
    """What an earlier Driftline wrote, and a tick of it, is described by the first version and can still be read."""
    examples = schema("outcome")["examples"]
    for example in examples:
        found = parse(json.dumps(example).encode())
        assert isinstance(found, Outcome)
        assert (found.v, found.features, found.at) == (1, example["features"], None)
    tick_of_then = json.loads(tick("m", 5.0))
    validator("outcome").validate(tick_of_then)
    validator("outcome", 2).validate(tick_of_then)
    assert parse(json.dumps(tick_of_then).encode()) == OutcomeTick("m", 5.0)


@pytest.mark.parametrize(
    ("form", "field", "value"),
    [
        ("outcomes", "truth", True),
        ("outcomes", "source", [9, 9]),
        ("outcomes", "share", [0.0, 1.0]),
        ("outcomes", "probabilities", [{"x": 2}, None]),
        ("outcomes", "at", [-1, 5]),
        ("outcome", "label", [True]),
        ("outcome", "groups", {"channel": {}}),
        ("outcome", "v", 1),
        ("tick", "ts", None),
        ("tick", "type", "tock"),
    ],
)
def test_the_schema_of_outcomes_refuses_what_is_none(form: str, field: str, value: Any) -> None:
    """Each form of a record of outcomes has its own types."""
    record = {"outcomes": _FULL_COLUMNS, "outcome": _FULL, "tick": OutcomeTick("m", 5.0, 91)}[form]
    assert not validator("outcome", 2).is_valid({**json.loads(encode(record)), field: value})


def _row(number: int) -> Example:
    return Example(float(number), 0, number, number, f"r-{number}", {"x": float(number)}, number % 2 == 0)


@pytest.fixture
def swaps(redis_settings: RedisSettings, signing_key: Secret) -> Iterator[Swaps]:
    """What records decisions, on a real Redis; nothing is sent to a broker."""
    store = Store(redis_settings, signing_key)
    sender = Sender(KafkaSettings(bootstrap="127.0.0.1:1"), "test")
    yield Swaps(KafkaSettings(), store, Registry(store), sender)
    sender.close(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classifier", "regressor"])
@pytest.mark.parametrize("result", ["promoted", "rejected", "abandoned"])
@pytest.mark.parametrize("with_champion", [True, False])
def test_swaps_fit_their_schema(swaps: Swaps, result: RetrainResult, task: Task, *, with_champion: bool) -> None:
    """A decision recorded by the retrainer, with and without a proof, validates and has no undescribed field."""
    rows = tuple(_row(number) for number in range(40))
    champion_losses = [1.0] * 9 + [math.inf] if task == "regressor" else [1.0] * 10
    proof = Proof(
        candidate=Candidate("fresh", linear_model.LogisticRegression(), 0.0),
        task=task,
        rows=TrainingSet(TrainingTopics("t.outcomes", "t.rows"), rows, {0: (0, 40)}, {0: (0, 1)}, 40, 0),
        training=rows[:30],
        held_out=rows[30:],
        pointer=None,
        against_champion=with_champion,
        decision=decide([0.0] * 10, champion_losses, max_error=0.05),
    )
    alert = "alert-1" if with_champion else None
    request = Request(id="retrain-1", model="m", reason="drift", alert=alert, began_at=1.0, requested_at=2.0, features=["x"])
    ended = TrialResult(result, proof.decision.reason, None if result == "abandoned" else proof)
    swap = swaps.record(request, ended, 0)
    data = cloudevents.decode(cloud_event(swap.event, "swap-1", NOW), cloudevents.SWAP)["data"]
    validator("swap").validate(data)
    _described(schema("swap"), data)
    assert (data["version"] is not None) == (result == "promoted")


def test_the_example_of_a_swap_says_what_the_gate_says() -> None:
    """The example of the swap schema carries a reason as the gate writes it."""
    example = schema("swap")["examples"][0]
    decision = decide([0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0], max_error=0.05)
    assert example["reason"] == decision.reason
