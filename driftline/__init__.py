"""Driftline: a streaming drift monitor that closes the loop.

This package is the front door: the command line (driftline/cli/main.py) and the configuration
(driftline/config/load.py). The work is done in `detectors`, `aligners`, `serving`, `retrainer` and
`dashboards`. Those names are general, so `check_packages` makes sure that the ones Python finds are
the ones that came with this package.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__version__ = "0.1.0"

PACKAGES = ("detectors", "streams", "serving", "retrainer", "dashboards")


class ShadowedError(ImportError):
    """Python finds another package of the same name before ours."""


def check_packages(names: tuple[str, ...] = PACKAGES) -> None:
    """Return if every package lies beside this one, as in a wheel and in a checkout.

    Raises:
        ShadowedError: one is missing or is somebody else's; the message names the file.
    """
    home = Path(__file__).resolve().parent.parent
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ShadowedError(f"the package {name} is missing beside {home / 'driftline'}: install Driftline again")
        places = [Path(place) for place in spec.submodule_search_locations or ()] or [Path(spec.origin or name)]
        if places[0].resolve() != home / name:
            raise ShadowedError(
                f"{places[0]} hides Driftline's own package {name} ({home / name}): rename or uninstall it, "
                "start from another directory, or give Driftline a virtual environment of its own"
            )
