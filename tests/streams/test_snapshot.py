"""Snapshots: the judge's state goes through bytes unchanged, whichever detector is in it."""

from __future__ import annotations

import random
from importlib.metadata import version

import msgspec
import numpy as np
import pytest

from detectors.errors import StateError
from detectors.judging.detectors import DETECTORS
from detectors.model.finding import ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, OutcomeSpec, ReferenceSpec, shapes_of
from detectors.windows.record import Mark, Window
from detectors.windows.row import ERROR, Row
from detectors.windows.windows import Windows
from streams.state import snapshot


def history(spec: ModelSpec) -> list[Window | Mark]:
    """Return windows of a number, a category and the error, which change after a while."""
    draw = random.Random(5)
    features = Windows("features", source=0, sources=1, shapes=shapes_of({"m": spec}, "features"))
    outcomes = Windows("outcomes", source=0, sources=1, shapes=shapes_of({"m": spec}, "outcomes"))
    records: list[Window | Mark] = []
    for second in range(0, 6000, 3):
        late = second > 3600
        values = {"x": draw.gauss(2.0 if late else 0.0, 1.0), "colour": draw.choice("bc" if late else "ab")}
        records += features.add_rows([Row(second, "m", float(second), "", values)]).records
        records += outcomes.add_rows([Row(second, "m", float(second), "", {ERROR: float(draw.random() < 0.2)})]).records
    return records


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_detector_goes_on_as_if_nothing_had_been_written(name: str) -> None:
    """With any detector of the table, a watch restored at any point finds what the one that stayed in memory finds."""
    spec = ModelSpec(
        "m",
        detector=name,
        window_seconds=60.0,
        outcomes=OutcomeSpec(detector=name),
        reference=ReferenceSpec(seconds=1500.0, min_windows=24),
    )
    kept, restored = ModelMonitor.begin(spec), ModelMonitor.begin(spec)
    findings = 0
    for number, record in enumerate(history(spec)):
        found, again = kept.add(record), restored.add(record)
        assert [one for one in found if not isinstance(one, ReferenceLearned)] == [
            one for one in again if not isinstance(one, ReferenceLearned)
        ]
        assert len(found) == len(again)
        findings += len(found)
        if number % 10 == 0:
            restored = snapshot.load("judge/0", snapshot.dump({"m": restored}))["m"]
            restored.bind(spec)
    assert findings > 0


def test_dumping_changes_nothing() -> None:
    """Dumped twice, the state is the same bytes, and what was loaded is as long."""
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=1500.0, min_windows=24))
    monitor = ModelMonitor.begin(spec)
    for record in history(spec):
        monitor.add(record)
    first = snapshot.dump({"m": monitor})
    assert snapshot.dump({"m": monitor}) == first
    assert len(snapshot.dump(snapshot.load("judge/0", first))) == len(first)


def test_arrays_come_back_writable_and_exact() -> None:
    """References are float64 arrays that the judge may go on working with."""
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=1500.0, min_windows=24))
    monitor = ModelMonitor.begin(spec)
    for record in history(spec):
        monitor.add(record)
    restored = snapshot.load("judge/0", snapshot.dump({"m": monitor}))["m"]
    for name, judge in monitor.channels["features"].judges.items():
        for feature, reference in judge.references.items():
            other = restored.channels["features"].judges[name].references[feature]
            np.testing.assert_array_equal(other.quantiles, reference.quantiles)
            assert other.quantiles.flags.writeable
            assert other.known == reference.known


def test_what_has_no_format_is_not_written() -> None:
    """A value of an unknown kind in the state is an error at once, not a snapshot that cannot be read."""
    spec = ModelSpec("m")
    broken = msgspec.structs.replace(ModelMonitor.begin(spec), model=object())
    with pytest.raises((NotImplementedError, TypeError)):
        snapshot.dump({"m": broken})


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            {"format": snapshot.FORMAT + 1, "driftline": "7.1.0", "models": "of another kind"},
            rf"by Driftline 7\.1\.0, which is newer than format {snapshot.FORMAT} of this Driftline {version('driftline')}",
        ),
        ({"format": 0, "river": "0.1"}, rf"format 0, written by Driftline unknown, which is older than format {snapshot.FORMAT}"),
        ({"format": snapshot.FORMAT, "river": "0.25.0"}, rf"River 0\.25\.0, here is {version('river')}: install that one"),
    ],
)
def test_what_another_version_wrote_is_named_with_the_version(made: dict[str, object], words: str) -> None:
    """A newer Driftline may have changed everything but the number: both versions and the way out are in the message."""
    with pytest.raises(StateError, match=rf"snapshot judge/0 .*{words}.*driftline rebuild --from windows"):
        snapshot.load("judge/0", msgspec.msgpack.encode(made))
