"""The loss of a model's answer: 0 or 1 for a class, the absolute error for a number.

>>> loss("classifier", True, True), loss("classifier", None, True), loss("regressor", 2.5, 4)
(0.0, 1.0, 1.5)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from serving.registry.artifact import Task, kind_of

#: How the gate's reason says that one answer costs less than another.
VERBS: dict[Task, str] = {"classifier": "right", "regressor": "nearer"}


def task_of(model: Any, labels: Sequence[Any]) -> Task:
    """Return the model's task: River says it of its own models; of other objects, fractional labels mean a regressor."""
    fractional = any(isinstance(label, float) and not label.is_integer() for label in labels)
    return "regressor" if fractional else kind_of(model)


def loss(task: Task, prediction: Any, label: Any) -> float:
    """Return the loss of one answer; no answer (None, NaN) costs 1 for a class and inf for a number.

    Raises:
        ValueError: a regressor's label or answer is no number.
    """
    if task == "classifier":
        return 0.0 if prediction is not None and prediction == label else 1.0
    if prediction is None:
        return math.inf
    error = abs(float(prediction) - float(label))
    return math.inf if math.isnan(error) else error


def constant_answer(task: Task, labels: Sequence[Any]) -> Any:
    """Return the best answer that looks at no feature: the commonest class (among equals, the one seen first) or the median.

    >>> constant_answer("classifier", ["down", "up", "up"]), constant_answer("regressor", [1.0, 2.0, 9.0])
    ('up', 2.0)
    """
    if task == "regressor":
        return sorted(float(label) for label in labels)[len(labels) // 2]
    counts: dict[Any, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return max(counts, key=counts.__getitem__)
