"""Candidates: models that learned the rows since the change point, row by row.

Rules:
1. `warm` is a copy of the champion that goes on learning. `fresh` is a new model of the factory.
2. Candidates are ranked by their mean loss on the last quarter of the training rows, where each row is answered before it is
   learned (prequential evaluation).
3. Held-out rows have no part in the ranking: they belong to the gate.
4. A candidate that raises is dropped, and the next in rank follows.
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
from retrainer.training_set import Example
from serving.registry.artifact import Task, predict

Factory = Callable[[], Any]
#: Called regularly with (rows learned, rows to learn), or (0, 0) from other work; raises to stop the work.
Progress = Callable[[int, int], None]

_EVERY = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model, its kind (`warm` or `fresh`), and its mean loss on rows that it answered before it learned them."""

    kind: str
    model: Any
    loss: float


def load_factory(path: str) -> Factory:
    """Return the callable that the path `module:attribute` names; the module may lie in the current directory.

    Raises:
        ConfigError: the path cannot be imported, or names no callable.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'factory: expected "module:attribute" such as "models:make", got "{path}"')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except AttributeError:
        raise ConfigError(f'factory: "{path}": module {module_name} has no "{attribute}"') from None
    except Exception as error:
        raise ConfigError(
            f'factory: "{path}": cannot import {module_name} ({type(error).__name__}: {error}); '
            f"put it in {here} or install it where the retrainer runs"
        ) from error
    if not callable(factory):
        raise ConfigError(f'factory: "{path}": expected a callable that returns a new model, got {type(factory).__name__}')
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
    """Return a candidate that learned `rows` in order; it is a copy, and `model` does not change.

    Raises:
        ModelError: the model raised on a row, which the message names.
    """
    try:
        learner = copy.deepcopy(model)
    except Exception as error:
        raise ModelError(f"a {type(model).__name__} cannot be copied ({type(error).__name__}: {error})") from error
    scored_from = len(rows) - max(1, len(rows) // 4)
    scored: list[float] = []
    for number, row in enumerate(rows):
        if number >= scored_from:
            scored.append(answer_loss(learner, row, task))
        learn(learner, row)
        if progress is not None and (number + 1) % _EVERY == 0:
            progress(number + 1, len(rows))
    return Candidate(kind, learner, math.fsum(scored) / len(scored) if scored else math.inf)


def train_each(
    starts: Mapping[str, Any], rows: Sequence[Example], task: Task, dropped: list[str], *, progress: Progress | None = None
) -> list[Candidate]:
    """Return a candidate for each kind that could learn the rows, in order of rising loss; equals stay in the order given.

    A candidate that raises is left out, and its kind and error are appended to `dropped`.
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
    """Return the first candidate that answers every row, and its losses; those before it are appended to `dropped`.

    The losses do not decide which candidate is returned. So the gate sees the losses of one candidate only.

    Raises:
        ModelError: no candidate is left; the message lists the errors of all in `dropped`.
    """
    for candidate in candidates:
        try:
            return candidate, answer_losses(candidate.model, rows, task, progress=progress)
        except ModelError as error:
            dropped.append(f"{candidate.kind}: {error}")
    raise ModelError(f"no candidate is left: {'; '.join(dropped)}")


def learn(model: Any, row: Example) -> None:
    """Let the model learn one row, without its null features: every model understands a missing key.

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
    """Return the loss of the champion's answer to each row, and on how many rows it raised; such a row has no answer."""
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
