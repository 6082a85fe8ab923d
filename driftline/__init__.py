"""Driftline: a streaming drift monitor that closes the loop.

This package is the front door. A command line or a file comes in; Kafka records, a running process, a file or a
table goes out. Open driftline/cli/main.py first: it has the table of all commands.

Rooms, each imports only rooms above it:

- `text`: words and tables for people, and words of people read as numbers. `servers`: Kafka and Redis started here.
- `config`: `driftline.toml` in, `Settings` out. `readers`: files of rows, events and windows in, rows out.
  `explain`: how thresholds follow from the budget.
- `replay`: the alerts that a file would have raised.
- `references`: what is normal, learned from a file, accepted, shown. `demo`: all of it on one machine.
- `cli`: the commands.

`detectors`, `streams`, `serving`, `retrainer` and `dashboards` do the work. Those names are general, so another
package may have one of them. `check_packages` refuses to start if Python would import that one.
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
