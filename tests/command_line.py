"""How a command line ended, whether it ran in a process of its own or here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """Its exit status and what it printed; `stderr` is empty where both streams were read as one."""

    status: int
    stdout: str
    stderr: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object in the last line of stdout."""
        return dict(json.loads(self.stdout.splitlines()[-1]))
