"""`python -m driftline` is `driftline`."""

from __future__ import annotations

from driftline.cli.main import main

main()
