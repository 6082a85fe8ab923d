"""The live view of the demo."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from driftline.demo.story import Story


class View:
    """Rows, windows, open incidents, version and accuracy, for rich's Live."""

    def __init__(self, story: Story, rows: int) -> None:
        """`rows` is how many will be sent."""
        self._story = story
        self._progress = Progress(
            TextColumn("rows"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn(), auto_refresh=False
        )
        self._task = self._progress.add_task("rows", total=rows)
        self._began = time.monotonic()

    def draw(self, sent: dict[str, Any], windows: int) -> Group:
        """Return what to show now."""
        self._progress.update(self._task, completed=sent.get("sent", 0))
        table = Table.grid(padding=(0, 2))
        accuracy = sent.get("accuracy")
        table.add_row("windows judged", f"{windows:,}")
        table.add_row("model version", str(sent.get("version", "-")))
        table.add_row("right, last 1,000", "-" if accuracy is None else f"{100 * accuracy:.1f} %")
        table.add_row("retrains / swaps", f"{len(self._story.retrains)} / {len(self._story.promoted())}")
        incidents = self._story.open_incidents()
        table.add_row("open incidents", "\n".join(alert["summary"] for alert in incidents[-4:]) or "none")
        return Group(self._progress, table, Text())
