"""NumPy is told of a slow sort where there is one, before it is imported, and the user has the last word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftline.cli.processor import advise_numpy

CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
model\t\t: 17
model name\t: a processor

processor\t: 1
vendor_id\t: nobody
"""


@pytest.mark.parametrize(
    ("vendor", "family", "told"),
    [("AuthenticAMD", "25", True), ("AuthenticAMD", "26", False), ("GenuineIntel", "25", False), ("GenuineIntel", "6", False)],
)
def test_only_the_processors_with_the_slow_sort_are_told_of(tmp_path: Path, vendor: str, family: str, *, told: bool) -> None:
    """AMD's family 25 does without AVX-512; every other processor keeps what it has."""
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(vendor=vendor, family=family))
    environment: dict[str, str] = {}
    advise_numpy(environment, tmp_path / "cpuinfo")
    assert bool(environment) == told


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    """A setting of the user's own, even an empty one, is not touched."""
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(vendor="AuthenticAMD", family="25"))
    environment = {"NPY_DISABLE_CPU_FEATURES": ""}
    advise_numpy(environment, tmp_path / "cpuinfo")
    assert environment == {"NPY_DISABLE_CPU_FEATURES": ""}


def test_the_command_line_tells_numpy_before_it_is_imported() -> None:
    """When the command line begins, nothing has imported NumPy yet, and NumPy takes the advice without a word."""
    script = (
        "import json, os, sys, driftline.cli.main; early = 'numpy' in sys.modules;"
        "os.environ['NPY_DISABLE_CPU_FEATURES'] = driftline.cli.processor._AVX512; import numpy;"
        "print(json.dumps([early, numpy.sort([2.0, 1.0]).tolist()]))"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, [1.0, 2.0]]
    assert done.stderr == ""
