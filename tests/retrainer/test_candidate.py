"""Candidates: they learn in order, leave the champion alone, and fail with the row's name."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from river import linear_model, preprocessing

from detectors.errors import ConfigError, ModelError
from retrainer.candidate import (
    Candidate,
    answer_loss,
    first_that_answers,
    load_factory,
    losses_as_served,
    make_fresh,
    train,
    train_each,
)
from retrainer.loss import constant_answer, loss, task_of
from retrainer.training_set import Example

pytestmark = pytest.mark.fast


def rows(labels: list[Any], features: list[dict[str, Any]] | None = None) -> list[Example]:
    """Rows with the given labels, a second apart."""
    shown = features or [{"x": float(number)} for number in range(len(labels))]
    return [Example(float(n), 0, n, n, f"row-{n}", x, y) for n, (x, y) in enumerate(zip(shown, labels, strict=True))]


class Recorder:
    """A model that remembers in which order it was asked and taught."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def learn_one(self, x: dict[str, float], _y: Any) -> None:
        """Remember being taught."""
        self.calls.append(("learn", x["x"]))

    def predict_one(self, x: dict[str, float]) -> Any:
        """Remember being asked."""
        self.calls.append(("predict", x["x"]))
        return True


class Stumbling(Recorder):
    """A model that raises on the row with x = 3."""

    def learn_one(self, x: dict[str, float], _y: Any) -> None:
        """Stumble over one row."""
        if x["x"] == 3.0:
            raise ZeroDivisionError("division by zero")


def test_rows_are_learned_in_order_and_the_last_quarter_is_answered_first() -> None:
    """Each row of the last quarter is predicted before it is learned; no other row is predicted."""
    made = train("fresh", Recorder(), rows([True] * 8), "classifier")
    assert made.model.calls == [
        *(("learn", float(n)) for n in range(6)),
        ("predict", 6.0),
        ("learn", 6.0),
        ("predict", 7.0),
        ("learn", 7.0),
    ]


def test_the_champion_is_left_as_it_was() -> None:
    """Warm training happens on a copy."""
    champion = Recorder()
    train("warm", champion, rows([True] * 8), "classifier")
    assert champion.calls == []


def test_a_candidate_learns_a_rule_that_fresh_rows_show() -> None:
    """A River pipeline started fresh answers the last quarter of a simple rule nearly without error."""
    draw = random.Random(5)
    shown = [{"x": draw.gauss(0, 1), "gap": None} for _ in range(400)]
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    made = train("fresh", model, rows([x["x"] > 0 for x in shown], shown), "classifier")
    assert made.loss < 0.1


class Telling(Recorder):
    """A model that always answers the same, and raises on given rows."""

    def __init__(self, answer: Any, raises_on: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.answer = answer
        self.raises_on = raises_on

    def predict_one(self, x: dict[str, float]) -> Any:
        """Answer, or raise."""
        if x["x"] in self.raises_on:
            raise KeyError("x")
        return self.answer


def test_the_least_loss_comes_first_and_of_equals_the_first() -> None:
    """The order of `candidates` in the configuration decides a draw."""
    starts = {"worse": Telling(False), "warm": Telling(True), "fresh": Telling(True)}
    assert [made.kind for made in train_each(starts, rows([True] * 8), "classifier", [])] == ["warm", "fresh", "worse"]


def test_a_candidate_that_raises_while_it_learns_is_dropped_and_the_others_go_on() -> None:
    """What it raised is kept in words, with its kind and the row."""
    dropped: list[str] = []
    made = train_each({"warm": Stumbling(), "fresh": Recorder()}, rows([True] * 8), "classifier", dropped)
    assert [candidate.kind for candidate in made] == ["fresh"]
    assert dropped == ["warm: row row-3: learn_one raised ZeroDivisionError: division by zero"]


def test_a_candidate_that_raises_on_a_held_out_row_is_dropped_and_the_next_one_is_judged() -> None:
    """The next candidate in order is judged, with any losses: held-out rows have no part in the choice."""
    held_out = rows([True] * 6)
    first, second, third = (
        Candidate("warm", Telling(True, raises_on=(4.0,)), 0.0),
        Candidate("fresh", Telling(False), 0.1),
        Candidate("x", Telling(True), 0.2),
    )
    dropped: list[str] = []
    assert first_that_answers([first, second, third], held_out, "classifier", dropped) == (second, [1.0] * 6)
    (reason,) = dropped
    assert reason.startswith("warm: row row-4: ")
    assert third.model.calls == []


def test_an_error_names_why_each_candidate_was_dropped() -> None:
    """Those dropped while learning and those dropped while answering are both in the message."""
    failing = Candidate("fresh", Telling(True, raises_on=(0.0,)), 0.0)
    with pytest.raises(ModelError, match=r"^no candidate is left: warm: boom; fresh: row row-0: "):
        first_that_answers([failing], rows([True]), "classifier", ["warm: boom"])


@pytest.mark.parametrize(("task", "worst"), [("classifier", 1.0), ("regressor", math.inf)])
def test_a_row_that_the_champion_raises_on_costs_as_no_answer(task: Any, worst: float) -> None:
    """The other rows are scored as ever, and those without an answer are counted."""
    champion = Telling(1, raises_on=(1.0, 3.0))
    assert losses_as_served(champion, rows([1] * 5), task) == ([0.0, worst, 0.0, worst, 0.0], 2)


def test_a_model_that_raises_names_the_row() -> None:
    """A model that stumbles in learn_one is a ModelError with the row's id."""
    with pytest.raises(ModelError, match=r"row row-3: learn_one raised ZeroDivisionError: division by zero"):
        train("fresh", Stumbling(), rows([True] * 8), "classifier")


def test_a_model_that_cannot_answer_names_the_row() -> None:
    """A model that stumbles in predict_one is a ModelError with the row's id."""

    class Silent(Recorder):
        def predict_one(self, _x: dict[str, float]) -> Any:
            raise KeyError("x")

    with pytest.raises(ModelError, match=r"row row-0: "):
        answer_loss(Silent(), rows([True])[0], "classifier")


def test_progress_is_reported_and_may_stop_the_work() -> None:
    """What the progress callback raises ends the training at once."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(done, total)

    with pytest.raises(KeyboardInterrupt) as stopped:
        train("fresh", Recorder(), rows([True] * 1000), "classifier", progress=stop)
    assert stopped.value.args == (100, 1000)


@pytest.mark.parametrize(
    ("task", "prediction", "label", "expected"),
    [
        ("classifier", "up", "up", 0.0),
        ("classifier", None, "up", 1.0),
        ("classifier", 1, True, 0.0),
        ("regressor", 2.0, 5, 3.0),
        ("regressor", None, 5, math.inf),
        ("regressor", math.nan, 5, math.inf),
    ],
)
def test_losses(task: Any, prediction: Any, label: Any, expected: float) -> None:
    """A class is right or wrong, a number is off by its distance, and no answer is the worst there is."""
    assert loss(task, prediction, label) == expected


def test_a_label_that_is_no_number_cannot_score_a_regressor() -> None:
    """A text label for a regressor is a ModelError with the row's id."""
    with pytest.raises(ModelError, match="row row-0"):
        answer_loss(Recorder(), rows(["tall"])[0], "regressor")


def test_the_task_follows_the_model_then_the_labels() -> None:
    """River says what its models do; another object is a regressor when labels are fractional."""
    assert task_of(preprocessing.StandardScaler() | linear_model.LinearRegression(), [1, 2]) == "regressor"
    assert task_of(linear_model.LogisticRegression(), [True, False]) == "classifier"
    assert task_of(Recorder(), [1.5, 2.0]) == "regressor"
    assert task_of(Recorder(), ["a", "b"]) == "classifier"


def test_the_constant_answer_is_the_commonest_class_or_the_median() -> None:
    """It looks at no feature: what a first version must beat."""
    assert constant_answer("classifier", [True, False, False]) is False
    assert constant_answer("regressor", [9, 1, 2]) == 2.0


def test_a_factory_is_found_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:attribute` is imported with the current directory on the path, and gives new models."""
    (tmp_path / "my_models_here.py").write_text("class M:\n def learn_one(s,x,y): ...\n def predict_one(s,x): ...\n")
    monkeypatch.chdir(tmp_path)
    factory = load_factory("my_models_here:M")
    assert make_fresh(factory) is not make_fresh(factory)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nonsense", 'expected "module:attribute"'),
        ("no_such_module_at_all:make", "cannot import no_such_module_at_all"),
        ("math:no_such_name", 'module math has no "no_such_name"'),
        ("math:pi", "expected a callable that returns a new model, got float"),
    ],
)
def test_a_wrong_factory_is_named(path: str, message: str) -> None:
    """Each way of naming a factory wrongly has its own sentence."""
    with pytest.raises(ConfigError, match=message) as refused:
        load_factory(path)
    assert path in str(refused.value)


def test_a_factory_that_makes_no_model_is_refused() -> None:
    """What a factory returns must learn and predict; the message says what it raised."""
    with pytest.raises(ModelError, match="expected a model with learn_one and predict_one"):
        make_fresh(dict)
    with pytest.raises(ModelError, match="the factory raised ValueError"):
        make_fresh(lambda: int("x"))


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    """A champion that holds an open file cannot go on learning in a copy, and says so."""

    class Holding(Recorder):
        def __init__(self) -> None:
            self.file = Path(__file__).open()  # noqa: SIM115 - held open on purpose

    model = Holding()
    try:
        with pytest.raises(ModelError, match="a Holding cannot be copied"):
            train("warm", model, rows([True] * 4), "classifier")
    finally:
        model.file.close()
