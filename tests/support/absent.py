"""What the machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test, or fail it where CI=true promises that everything is installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"not on this CI machine: {reason}", pytrace=False)
    pytest.skip(reason)
