"""Artifacts and the registry, against a real redis-server: versions, pointers, and what is refused."""

from __future__ import annotations

import os
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from river import linear_model, naive_bayes, preprocessing, tree

from detectors.errors import ModelError, SignatureError
from serving.registry.artifact import Artifact, Prediction, dump, golden_rows, kind_of, load, predict
from serving.registry.versions import Pointer, PointerMovedError, Registry
from streams.settings import RedisSettings, Secret
from streams.state.signature import sign
from streams.state.store import Store

ROWS = tuple({"amount": float(row % 7), "country": float(row % 3)} for row in range(60))


def classifier() -> Any:
    """A small trained River pipeline."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for row in ROWS:
        model.learn_one(row, row["amount"] > 3)
    return model


def artifact(**changes: Any) -> Artifact:
    """An artifact with golden rows that hold."""
    model = classifier()
    made = Artifact(model=model, created_at=1.5, kind=kind_of(model), golden=golden_rows(model, ROWS[:5]), lineage={"rows": 60})
    return replace(made, **changes)


class Constant:
    """A model that answers the same to everything; it has no probabilities."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict_one(self, _features: dict[str, Any]) -> Any:
        """Answer."""
        return self.answer


class NeedsEverything:
    """A model that reads its features by name and takes no None."""

    def predict_one(self, features: dict[str, Any]) -> float:
        """Sum up."""
        return sum(value + 0.5 for value in features.values())


class CreatesFile:
    """An object whose unpickling creates a file: what an intruder would store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        """Have the unpickler open the path for writing."""
        return os.open, (str(self.path), os.O_CREAT | os.O_WRONLY)


@pytest.fixture
def registry(redis_settings: RedisSettings, signing_key: Secret) -> Registry:
    """A registry with keys of its own."""
    return Registry(Store(redis_settings, signing_key))


@pytest.fixture
def raw(redis_settings: RedisSettings) -> Any:
    """A bare client, for what an intruder would do."""
    return redis.Redis.from_url(redis_settings.url)


def test_an_artifact_comes_back_as_it_went() -> None:
    """Metadata, golden rows and answers are the same after dump and load."""
    before = artifact(version=3, parent=2)
    after = load(dump(before))
    assert replace(after, model=None) == replace(before, model=None)
    assert [predict(after.model, row) for row in ROWS] == [predict(before.model, row) for row in ROWS]


@pytest.mark.parametrize(
    ("answer", "label"),
    [(True, True), ("UP", "UP"), (7, 7), (None, None), (np.int64(3), 3), (np.float32(0.5), 0.5), (float("nan"), None)],
)
def test_a_model_without_probabilities_has_a_label_and_no_score(answer: Any, label: Any) -> None:
    """Whatever scalar a model answers becomes a JSON-able label."""
    assert predict(Constant(answer), {"amount": 1.0}) == Prediction(label, None)


def test_a_binary_classifier_scores_true() -> None:
    """Over False/True the score is the probability of True, whichever label is given."""
    model = classifier()
    low, high = (predict(model, {"amount": amount, "country": 1.0}) for amount in (0.0, 6.0))
    assert (low.label, high.label) == (False, True)
    assert low.score is not None
    assert high.score is not None
    assert low.score < 0.5 < high.score


def test_a_classifier_of_several_labels_scores_its_answer() -> None:
    """Over other labels the score is the probability of the label that is given."""
    model = naive_bayes.GaussianNB()
    for row in ROWS:
        model.learn_one(row, ("NO", "SE", "DK")[int(row["country"])])
    chances = model.predict_proba_one(ROWS[0])
    answer = predict(model, ROWS[0])
    assert len(chances) == 3
    assert answer == Prediction(max(chances, key=chances.__getitem__), max(chances.values()))


def test_a_regressors_number_is_its_label() -> None:
    """A regressor, also at the end of a pipeline, answers a number and no score."""
    model = preprocessing.StandardScaler() | linear_model.LinearRegression()
    for row in ROWS:
        model.learn_one(row, row["amount"] * 2)
    answer = predict(model, ROWS[0])
    assert kind_of(model) == "regressor"
    assert isinstance(answer.label, float)
    assert answer.score is None


def test_an_untrained_classifier_answers_something() -> None:
    """A classifier that has seen nothing gives an answer that JSON can hold, not an error."""
    assert predict(tree.HoeffdingTreeClassifier(), ROWS[0]) == Prediction(None, None)


def test_null_is_left_out_for_a_model_that_cannot_take_it() -> None:
    """A model that fails on None answers as if the feature had not been sent."""
    assert predict(NeedsEverything(), {"a": 1, "b": None}).label == 1.5


@pytest.mark.parametrize("answer", [[1, 2], {"a": 1}, 1 << 70])
def test_an_answer_that_is_no_scalar_is_an_error_of_the_model(answer: Any) -> None:
    """What JSON clients could not read is refused as the model's fault."""
    with pytest.raises(ModelError, match="cannot answer"):
        predict(Constant(answer), {"amount": 1.0})


def test_another_river_is_refused() -> None:
    """A version made with another minor version of River is refused and says what to install."""
    with pytest.raises(ModelError, match=r"made with River 0\.1\.0.*install River 0\.1 here"):
        load(dump(artifact(river_version="0.1.0")))


def test_another_python_is_refused() -> None:
    """A version made with another minor version of Python is refused."""
    with pytest.raises(ModelError, match=r"made with Python 3\.9\.1"):
        load(dump(artifact(python_version="3.9.1")))


def test_another_layout_is_refused() -> None:
    """Bytes that are no artifact are refused before anything of them is used."""
    for payload in (b"", b"DLM9" + dump(artifact())[4:], b"DLM1\x00\x00\x00\x04oops"):
        with pytest.raises(ModelError, match="artifact"):
            load(payload)


def test_golden_rows_that_are_answered_differently_are_refused() -> None:
    """A model that does not answer its golden rows as promised is not the model that was tested."""
    with pytest.raises(ModelError, match="golden row 0 was answered"):
        load(dump(artifact(golden=((ROWS[0], Prediction(True, 0.999)),))))


def test_a_model_that_cannot_be_pickled_is_an_error() -> None:
    """A lambda inside a model is refused at publishing, with the reason."""
    with pytest.raises(ModelError, match="cannot be pickled"):
        dump(artifact(model=Constant(lambda: None)))


def test_a_class_that_is_missing_here_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose package is not installed in this process is refused, and the message says so."""
    module = types.ModuleType("only_there")
    exec("class Model:\n    def predict_one(self, x): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_there", module)
    payload = dump(artifact(model=module.Model(), golden=()))
    monkeypatch.delitem(sys.modules, "only_there")
    with pytest.raises(ModelError, match="install the package"):
        load(payload)


def test_versions_are_numbered_from_one_and_serve_nothing(registry: Registry) -> None:
    """Publishing gives 1, 2, 3 and leaves the pointer alone."""
    assert [registry.publish("fraud", artifact()) for _ in range(3)] == [1, 2, 3]
    assert registry.versions("fraud") == [1, 2, 3]
    assert registry.versions("other") == []
    assert registry.current("fraud") is None
    assert registry.load("fraud", 2).version == 2


def test_publishing_at_once_gives_every_artifact_its_own_version(registry: Registry) -> None:
    """Eight publishers at the same time get eight different versions."""
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: registry.publish("fraud", artifact()), range(8)))
    assert sorted(versions) == list(range(1, 9))


def test_the_number_of_a_deleted_version_is_not_used_again(registry: Registry, raw: Any, prefix: str) -> None:
    """After version 2 was deleted the next version is 3, and 2 is no longer listed."""
    registry.publish("fraud", artifact())
    registry.publish("fraud", artifact())
    raw.delete(f"{prefix}:blob:model/fraud/2")
    assert registry.publish("fraud", artifact()) == 3
    assert registry.versions("fraud") == [1, 3]
    with pytest.raises(ModelError, match=r"no version 2; published are \[1, 3\]"):
        registry.load("fraud", 2)


def test_a_name_that_is_no_number_is_no_version(registry: Registry, raw: Any, prefix: str) -> None:
    """Foreign names among the versions are passed over: listing and publishing go on."""
    registry.publish("fraud", artifact())
    raw.sadd(f"{prefix}:blobs:model/fraud", "latest", "-7", "1.5", "\u00b2", "9" * 5000)
    assert registry.versions("fraud") == [1]
    assert registry.publish("fraud", artifact()) == 2


def test_the_generation_only_grows_also_on_a_rollback(registry: Registry) -> None:
    """Promote, promote, roll back: versions 1, 2, 1 and generations 1, 2, 3."""
    registry.publish("fraud", artifact())
    registry.publish("fraud", artifact())
    assert registry.promote("fraud", 1, 0, "first", 10.5) == Pointer(1, 1, 10.5, "first")
    assert registry.promote("fraud", 2, 1, "gate", 11.25) == Pointer(2, 2, 11.25, "gate")
    assert registry.rollback("fraud", 1, by="operator", moved_at=12.0) == Pointer(1, 3, 12.0, "operator")
    assert registry.current("fraud") == Pointer(1, 3, 12.0, "operator")


def test_of_racing_promotions_one_wins(registry: Registry) -> None:
    """Eight promotions from the same generation: one moves the pointer, seven raise."""
    for _ in range(8):
        registry.publish("fraud", artifact())
    start = threading.Barrier(8)

    def race(version: int) -> Pointer | None:
        start.wait(10)
        try:
            return registry.promote("fraud", version, 0, f"racer {version}", 1.0)
        except PointerMovedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [pointer for pointer in pool.map(race, range(1, 9)) if pointer is not None]
    assert len(winners) == 1
    assert registry.current("fraud") == winners[0]


def test_the_same_promotion_sent_twice_is_one(registry: Registry) -> None:
    """A promotion repeated because its answer was lost finds its own doing and succeeds."""
    registry.publish("fraud", artifact())
    first = registry.promote("fraud", 1, 0, "gate", 5.0)
    assert registry.promote("fraud", 1, 0, "gate", 5.0) == first
    assert registry.current("fraud") == first


def test_a_version_that_was_never_published_is_not_promoted(registry: Registry) -> None:
    """The pointer never names what cannot be loaded."""
    with pytest.raises(ModelError, match="no version 4; published are none"):
        registry.promote("fraud", 4, 0, "gate", 1.0)
    assert registry.current("fraud") is None


def test_a_move_is_announced(registry: Registry) -> None:
    """Whoever waits for moves looks again long before the poll is due."""
    registry.publish("fraud", artifact())
    looks = registry.moves("fraud", 600.0)
    next(looks)  # subscribed
    registry.promote("fraud", 1, 0, "gate", 1.0)
    next(looks)
    assert registry.current("fraud") == Pointer(1, 1, 1.0, "gate")


def test_an_altered_blob_is_refused_before_it_is_unpickled(registry: Registry, raw: Any, prefix: str, tmp_path: Path) -> None:
    """A pickle that would create a file does not run: unsigned, signed with another key, or under another name."""
    trap = tmp_path / "created"
    evil = dump(artifact(model=CreatesFile(trap), golden=()))
    registry.publish("fraud", artifact())
    name = f"{prefix}:blob:model/fraud/1"
    genuine = raw.get(name)
    for blob in (
        evil,
        b"DLS1" + bytes(32) + evil,
        genuine[:36] + evil,
        sign(Secret(b"another key"), "model/fraud/1", evil),
        genuine[:-1] + bytes([genuine[-1] ^ 1]),
        genuine[:20],
    ):
        raw.set(name, blob)
        with pytest.raises(SignatureError):
            registry.load("fraud", 1)
    registry.publish("other", artifact())
    raw.set(name, raw.get(f"{prefix}:blob:model/other/1"))
    with pytest.raises(SignatureError):
        registry.load("fraud", 1)
    assert not trap.exists()


def test_the_trap_would_have_worked(tmp_path: Path) -> None:
    """The pickle of the test before does create a file when it is loaded, so the test before proves something."""
    trap = tmp_path / "created"
    os.close(load(dump(artifact(model=CreatesFile(trap), golden=()))).model)
    assert trap.exists()


def test_a_pointer_that_driftline_did_not_write_is_an_error_and_can_be_written_again(
    registry: Registry, raw: Any, prefix: str
) -> None:
    """A pointer without a version is refused with its fields; a rollback mends it."""
    registry.publish("fraud", artifact())
    raw.hset(f"{prefix}:pointer:model/fraud", mapping={"generation": "4", "version": "latest"})
    with pytest.raises(ModelError, match="latest"):
        registry.current("fraud")
    assert registry.rollback("fraud", 1, moved_at=2.0).generation == 5
