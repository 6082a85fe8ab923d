"""How often River's stock detectors raise false alarms on standard scores, as measured."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.judging.detectors import Direction

#: The stream with which STOCK was measured, for detectors that are fed outcomes: chance of an error, and outcomes in a window.
STOCK_CHANCE, STOCK_OUTCOMES = 0.1, 50


@dataclass(frozen=True, slots=True)
class StockRate:
    """False alarms of a monitor whose detector keeps no budget, while nothing changes.

    Args:
        per_1000_windows: the rate; where no alarm was seen, the upper end of its 95 % interval.
        seen: whether any alarm was seen.
        least: least rate on the streams that were tried; None where the rate does not depend on the stream.
        most: greatest rate on these streams.
    """

    per_1000_windows: float
    seen: bool = True
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Return the rate and its stream in words.

        >>> str(StockRate(0.04, seen=False))
        'at most 0.04 in 1,000 windows, for scores that are white'
        """
        rate = f"{self.about} {self.per_1000_windows:g} in 1,000 windows"
        if self.most is None:
            return f"{rate}, for scores that are white"
        return (
            f"{rate}, with one error in {1 / STOCK_CHANCE:g} and {STOCK_OUTCOMES} outcomes in a window (the rate depends on "
            f"both: {self.least:g} to {self.most:g} on the streams of benchmarks/quality/stock.py)"
        )

    @property
    def about(self) -> str:
        """How exact the number is, in words."""
        return "about" if self.seen else "at most"


#: (detector, direction) -> false alarms, from `python -m benchmarks.stock` with River 0.26: 80,000 windows for each row.
#: Where no alarm was seen the rate is 3 / 80, the upper end of its interval.
STOCK: dict[tuple[str, Direction], StockRate] = {
    ("adwin", "both"): StockRate(0.04, seen=False),
    ("adwin", "up"): StockRate(0.04, seen=False),
    ("kswin", "both"): StockRate(1.21),
    ("kswin", "up"): StockRate(0.76),
    ("ddm", "up"): StockRate(0.28, least=0.03, most=1.57),
    ("eddm", "up"): StockRate(7.71, least=0.93, most=7.71),
    ("hddm_a", "up"): StockRate(0.04, seen=False, least=0.0, most=0.06),
    ("hddm_w", "up"): StockRate(0.04, seen=False, least=0.0, most=0.53),
    ("fhddm", "up"): StockRate(0.04, seen=False, least=0.0, most=1.36),
}


def stock_rate(name: str, direction: Direction) -> StockRate:
    """Return the false alarms that a detector without a budget is expected to raise.

    Raises:
        KeyError: no such name, one that keeps the budget, or a detector of outcomes with the direction `both`.
    """
    return STOCK[name, direction]
