"""`python -m driftline` is `driftline`."""

from __future__ import annotations

from driftline.cli import main

main()
