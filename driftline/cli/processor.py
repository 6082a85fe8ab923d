"""A setting for NumPy that depends on the processor; it must be made before anything imports NumPy.

On AMD's family 25 one instruction of NumPy's AVX-512 sort takes more than a hundred cycles, so that sort is
slower than the AVX2 one (github.com/numpy/x86-simd-sort issue 6; OpenJDK leaves it out there too). Both give the same
order. The family has Zen 4, and Zen 3, which has no AVX-512. Worker and replay sort every value once.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from itertools import takewhile
from pathlib import Path

_SETTING = "NPY_DISABLE_CPU_FEATURES"
#: NumPy's names for AVX-512; NumPy ignores a name that it does not know.
_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR"
_SLOW_VENDOR, _SLOW_FAMILY = "AuthenticAMD", "25"
_CPUINFO = Path("/proc/cpuinfo")


def advise_numpy(environment: MutableMapping[str, str] = os.environ, cpuinfo: Path = _CPUINFO) -> None:
    """Switch off AVX-512 in NumPy where its sort is slow, unless the user has set the variable.

    >>> environment = {}
    >>> advise_numpy(environment, Path("/nowhere"))
    >>> environment
    {}
    """
    if _SETTING in environment:
        return
    try:
        with cpuinfo.open() as lines:
            facts = dict(map(_fact, takewhile(str.strip, lines)))  # of the first processor
    except OSError:  # not Linux
        return
    if facts.get("vendor_id") == _SLOW_VENDOR and facts.get("cpu family") == _SLOW_FAMILY:
        environment[_SETTING] = _AVX512


def _fact(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
