"""The model of the tests of the loop."""

from river import linear_model, preprocessing
from river.compose import Discard, Pipeline


def make() -> Pipeline:
    """Return a new, untrained model."""
    return Pipeline(Discard("colour"), preprocessing.StandardScaler(), linear_model.LogisticRegression())
