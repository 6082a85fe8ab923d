"""The folder of the example, its modules, and its first model."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from detectors.errors import ConfigError

#: Rows the first model learned from before it was deployed: the 28 days before everything else.
FIRST_ROWS = 28 * 48
MODEL = "electricity"


def directory() -> Path:
    """Return the folder of the example: beside the packages in a checkout, inside them when installed.

    Raises:
        ConfigError: neither has it.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent / "examples" / "electricity", package / "examples" / "electricity"):
        if (place / "driftline.toml").is_file():
            return place
    raise ConfigError("the demo needs examples/electricity/: run it from a checkout, or install the wheel again")


def module(name: str) -> ModuleType:
    """Return a module of the example, imported under the name that its own files use."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, directory() / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ConfigError(f"examples/electricity/{name}.py cannot be imported")
        sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    return sys.modules[name]


def first_model() -> Any:
    """Return the model as it was deployed: trained on the first 28 days and never again."""
    model = module("model").make()
    for row in module("rows").read_rows(FIRST_ROWS):
        model.learn_one(row.features, row.up)
    return model
