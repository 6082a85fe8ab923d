"""False alarms of detectors without a budget: the table is what the benchmark finds, and the benchmark covers the table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.stock import STREAMS, alarms, cases
from detectors.judging.detectors import DETECTORS, Direction
from detectors.judging.stock_rates import STOCK, STOCK_CHANCE, STOCK_OUTCOMES


def test_every_stock_detector_has_a_rate() -> None:
    """For each direction in which it can be used, and with what it depends on."""
    assert set(STOCK) == {(name, direction) for name, direction, _, _ in cases()}
    assert {name for name, _ in STOCK} == {name for name, kind in DETECTORS.items() if not kind.budgeted}
    for (name, _), rate in STOCK.items():
        assert (rate.most is not None) == (DETECTORS[name].feed == "outcomes")
        if rate.least is not None and rate.most is not None:
            assert 0 <= rate.least <= rate.per_1000_windows <= rate.most
    assert STREAMS[0] == (STOCK_CHANCE, STOCK_OUTCOMES)


@pytest.mark.parametrize(("name", "direction"), STOCK)
def test_the_table_is_what_the_benchmark_finds(name: str, direction: Direction) -> None:
    """A short run on the stated stream raises as many as the table says, but for chance."""
    thousands = 4
    raised = alarms(name, direction, monitors=2, windows=500 * thousands, chance=STOCK_CHANCE, outcomes=STOCK_OUTCOMES, seed=11)
    expected = STOCK[name, direction].per_1000_windows * thousands
    assert abs(raised - expected) <= 4 * np.sqrt(expected + 1)
