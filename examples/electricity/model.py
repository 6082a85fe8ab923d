"""The model of the example: will the price go up? Named as factory in driftline.toml."""

from __future__ import annotations

from river import linear_model, optim, preprocessing
from river.compose import Pipeline


def make() -> Pipeline:
    """Return a new, untrained model."""
    return Pipeline(
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(optimizer=optim.SGD(0.05)),
    )
