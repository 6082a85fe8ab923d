"""Whether Python imports our packages, or others of the same name.

`detectors`, `streams`, `serving`, `retrainer` and `dashboards` are general names. Another package on the import path may
have one of them, and what failed then would look like a defect of Driftline.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["PACKAGES", "ShadowedError", "check_packages"]

PACKAGES = ("detectors", "streams", "serving", "retrainer", "dashboards")


class ShadowedError(ImportError):
    """Python finds another package of the same name before ours."""


def check_packages(names: tuple[str, ...] = PACKAGES) -> None:
    """Return if every package of that name lies beside this one, as in a wheel and in a checkout.

    Raises:
        ShadowedError: a package is missing, or Python would import another one of that name; the message names its file.
    """
    home = Path(__file__).resolve().parents[2]
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
