"""Candidates: models that learned the rows since the change point, one row at a time.

`warm` is a copy of the champion that goes on learning; `fresh` starts from nothing. The better one
is chosen by its answers to the last quarter of the training rows, each given before the row was
learned. How well held-out rows are answered has no part in the choice: they belong to the gate. A
candidate that raises is dropped, and the next one takes its place.
"""

from __future__ import annotations

import copy
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectors.errors import ConfigError, ModelError
from retrainer.loss import loss
from retrainer.training import Example
from serving.registry.artifact import Task, predict

Factory = Callable[[], Any]
#: Called now and then with (rows learned, rows to learn), or (0, 0) from other work; may raise to stop.
Progress = Callable[[int, int], None]

_EVERY = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model, how it was made, and its mean loss on rows it had not yet learned."""

    kind: str
    model: Any
    loss: float


def load_factory(place: str) -> Factory:
    """Return the callable that `module:attribute` names; the current directory can be imported from.

    Raises:
        ConfigError: it cannot be imported, or is not callable.
    """
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'factory: expected "module:attribute" such as "models:make", got "{place}"')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except AttributeError:
        raise ConfigError(f'factory: "{place}": module {module_name} has no "{attribute}"') from None
    except Exception as error:
        raise ConfigError(
            f'factory: "{place}": cannot import {module_name} ({type(error).__name__}: {error}); '
            f"put it in {here} or install it where the retrainer runs"
        ) from error
    if not callable(factory):
        raise ConfigError(f'factory: "{place}": expected a callable that returns a new model, got {type(factory).__name__}')
    return factory  # type: ignore[no-any-return]  # its result is Any: models have no common base


def make_fresh(factory: Factory) -> Any:
    """Return a new untrained model.

    Raises:
        ModelError: the factory raised, or its model cannot learn.
    """
    try:
        model = factory()
    except Exception as error:
        raise ModelError(f"the factory raised {type(error).__name__}: {error}") from error
    if not (callable(getattr(model, "learn_one", None)) and callable(getattr(model, "predict_one", None))):
        raise ModelError(f"the factory returned a {type(model).__name__}: expected a model with learn_one and predict_one")
    return model


def train(kind: str, model: Any, rows: Sequence[Example], task: Task, *, progress: Progress | None = None) -> Candidate:
    """Return a candidate that learned `rows` in order; `model` itself is left as it was.

    Raises:
        ModelError: the model raised on a row, which the message names.
    """
    try:
        learner = copy.deepcopy(model)
    except Exception as error:
        raise ModelError(f"a {type(model).__name__} cannot be copied ({type(error).__name__}: {error})") from error
    watched_from = len(rows) - max(1, len(rows) // 4)
    watched: list[float] = []
    for number, row in enumerate(rows):
        if number >= watched_from:
            watched.append(answer_loss(learner, row, task))
        learn(learner, row)
        if progress is not None and (number + 1) % _EVERY == 0:
            progress(number + 1, len(rows))
    return Candidate(kind, learner, math.fsum(watched) / len(watched) if watched else math.inf)


def train_each(
    starts: Mapping[str, Any], rows: Sequence[Example], task: Task, dropped: list[str], *, progress: Progress | None = None
) -> list[Candidate]:
    """Return a candidate for each kind that could learn the rows, least loss first, of equals in the order given.

    One that raised is left out, and `dropped` gets its kind and what it raised.
    """
    candidates: list[Candidate] = []
    for kind, model in starts.items():
        try:
            candidates.append(train(kind, model, rows, task, progress=progress))
        except ModelError as error:
            dropped.append(f"{kind}: {error}")
    return sorted(candidates, key=lambda candidate: candidate.loss)


def first_that_answers(
    candidates: Sequence[Candidate], rows: Sequence[Example], task: Task, dropped: list[str], *, progress: Progress | None = None
) -> tuple[Candidate, list[float]]:
    """Return the first candidate that answers every row, and its losses; `dropped` gets those before it.

    How well it answers has no say here: of held-out rows only one candidate's losses are ever looked at.

    Raises:
        ModelError: none is left; the message has what all of `dropped` raised.
    """
    for candidate in candidates:
        try:
            return candidate, answer_losses(candidate.model, rows, task, progress=progress)
        except ModelError as error:
            dropped.append(f"{candidate.kind}: {error}")
    raise ModelError(f"no candidate is left: {'; '.join(dropped)}")


def learn(model: Any, row: Example) -> None:
    """Let the model learn one row, without its null features: a missing key is what every model understands.

    Raises:
        ModelError: the model raised.
    """
    known = {name: value for name, value in row.features.items() if value is not None}
    try:
        model.learn_one(known, row.label)
    except Exception as error:
        raise ModelError(f"row {row.id}: learn_one raised {type(error).__name__}: {error}") from error


def answer_loss(model: Any, row: Example, task: Task) -> float:
    """Return the loss of the answer that serving would give to one row.

    Raises:
        ModelError: the model raised, or its answer or the label does not fit the task.
    """
    try:
        given = predict(model, row.features).label
    except ModelError as error:
        raise ModelError(f"row {row.id}: {error}") from error
    try:
        return loss(task, given, row.label)
    except (TypeError, ValueError):
        raise ModelError(f"row {row.id}: a {task} cannot be scored on prediction {given!r} and label {row.label!r}") from None


def answer_losses(model: Any, rows: Sequence[Example], task: Task, *, progress: Progress | None = None) -> list[float]:
    """Return the loss of the answer to each row; the model learns nothing.

    Raises:
        ModelError: as `answer_loss`.
    """
    losses: list[float] = []
    for row in rows:
        losses.append(answer_loss(model, row, task))
        if progress is not None and len(losses) % _EVERY == 0:
            progress(0, 0)
    return losses


def losses_as_served(
    model: Any, rows: Sequence[Example], task: Task, *, progress: Progress | None = None
) -> tuple[list[float], int]:
    """Return the loss of the champion's answer to each row, and how many rows it raised on: each of those costs as no answer."""
    losses: list[float] = []
    unanswered = 0
    for row in rows:
        try:
            losses.append(answer_loss(model, row, task))
        except ModelError:
            losses.append(loss(task, None, row.label))
            unanswered += 1
        if progress is not None and len(losses) % _EVERY == 0:
            progress(0, 0)
    return losses, unanswered
