"""The benchmark of the join: its stream is the one that is promised, and its figures say what is short."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from benchmarks.speed.join.columns import ColumnFeed, roomy
from benchmarks.speed.join.loading import differences
from benchmarks.speed.join.report import FIGURES, short_of
from benchmarks.speed.join.stream import (
    DAY_SECONDS,
    MODEL,
    WINDOW_SECONDS,
    EventWriter,
    identities,
    last_end,
    only_predictions,
    predictions_and_labels,
)

pytestmark = pytest.mark.fast

END = last_end(1_800_000_000.0)


def test_labels_come_ten_minutes_to_a_day_later_and_half_of_them_in_order():
    """5 % of the predictions have no label, 1 % have two, 2 % as many labels are foreign, and all come before the end."""
    stream = predictions_and_labels(20_000, END)
    assert END % WINDOW_SECONDS == 0
    assert (np.diff(stream.at) >= 0).all()
    assert stream.at[-1] < END
    made = np.zeros(20_000)
    made[stream.row[~stream.labelled]] = stream.at[~stream.labelled]
    rows, first = np.unique(stream.row[stream.labelled], return_index=True)
    foreign = rows >= 20_000
    assert foreign.sum() == 400
    assert (~foreign).sum() == pytest.approx(19_000, rel=0.01)
    assert stream.labelled.sum() - len(rows) == 200
    delays = stream.at[stream.labelled][first][~foreign] - made[rows[~foreign]]
    assert delays.min() >= 600 - 0.002
    assert delays.max() <= DAY_SECONDS + 0.002
    assert (np.abs(delays - 21_600) < 0.01).mean() == pytest.approx(0.5, abs=0.02)


def test_a_label_has_the_id_and_the_partition_of_its_prediction():
    """Ids differ between predictions and have 32 characters; the key of a record is its id."""
    stream = predictions_and_labels(500, END)
    keys, values = EventWriter().values(stream, np.arange(len(stream)))
    events = [orjson.loads(value) for value in values]
    assert [event["id"].encode() for event in events] == keys
    assert len(set(identities(np.arange(500)))) == 500
    assert {len(event["id"]) for event in events} == {32}
    partitions: dict[str, set[int]] = {}
    for event, partition in zip(events, stream.partition.tolist(), strict=True):
        partitions.setdefault(event["id"], set()).add(partition)
    assert {len(found) for found in partitions.values()} == {1}
    without, bodies = EventWriter(with_ids=False).values(only_predictions(9, END), np.arange(9))
    assert without == [None] * 9
    assert all("id" not in orjson.loads(body) for body in bodies)


def test_states_that_differ_are_said_to():
    """Two states of the same records have no differences, and a truth or a record more is one."""
    stream = predictions_and_labels(4_000, END)
    states = [roomy(4_000) for _ in range(3)]
    for state, part in zip(states, (1, 1, 2), strict=True):
        feed = ColumnFeed(stream, state)
        for halves, clock, end in list(feed.columns())[: -part or None]:
            feed.take(halves, clock, end)
    assert differences(states[0], states[1]) == []
    assert "position" in differences(states[0], states[2])
    rows = states[1].models[MODEL].waiting.rows
    rows["truth"][0] += 1
    assert differences(states[0], states[1]) == ["waiting.truth"]


def test_a_figure_that_is_not_measured_is_not_short():
    """Only what was measured and is out of its bound is named."""
    assert short_of({}) == []
    (said,) = short_of({"ratio": 0.5, "memory_bytes": {"classes": 90.0}})
    assert said == f"short: {FIGURES[0].name} is 0.50, must be >= 0.6"
