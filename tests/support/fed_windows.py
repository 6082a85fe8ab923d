"""Windows of one source that are fed piece by piece, with all that came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from detectors.windows.record import Mark, Window, WindowShape
from detectors.windows.row import Row
from detectors.windows.windows import Windows


class FedWindows:
    """The open windows of features of source 0, and what they wrote and counted so far.

    Args:
        shapes: model -> shape of its windows.
    """

    def __init__(self, shapes: Mapping[str, WindowShape]) -> None:
        self.open = Windows("features", source=0, sources=1, shapes=shapes)
        self.written: list[Window | Mark] = []
        self.late: Counter[str] = Counter()

    def add(self, rows: Iterable[Row]) -> list[Window | Mark]:
        """Take rows and return what they closed."""
        taken = self.open.add_rows(rows)
        assert all(taken.late.values()), "a model without late rows is not named"
        self.late.update(taken.late)
        self.written += taken.records
        return taken.records
