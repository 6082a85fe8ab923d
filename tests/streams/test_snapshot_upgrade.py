"""Snapshots and reference files of the format before: what an older Driftline wrote goes on as if nothing had changed.

How the data were made is said in tests/data/format4/README.md.
"""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.errors import StateError
from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.judging.recovery import RecoveryStage
from detectors.model.finding import Finding
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, OutcomeSpec, ReferenceSpec, RetrainSpec
from streams.records import window_codec
from streams.records.cloudevents import event_of
from streams.state import reference_file, snapshot, snapshot_upgrade
from streams.state.array_codec import array_in, array_out
from tests.support.paths import ROOT

DATA = ROOT / "tests" / "data" / "format4"
HOUR = 3600.0
SPECS = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "shop",
            factory="shop:make",
            outcomes=OutcomeSpec(detector="fhddm"),
            reference=ReferenceSpec(seconds=2400.0, min_windows=24),
            retrain=RetrainSpec(cooldown_seconds=600.0),
        ),
        ModelSpec("day", window_seconds=HOUR, reference=ReferenceSpec(seconds=72 * HOUR, min_windows=24)),
        ModelSpec("slow", reference=ReferenceSpec(seconds=4400 * 60.0, min_windows=24)),
    )
}


def before() -> bytes:
    """Return the snapshot of format 4."""
    return gzip.decompress((DATA / "snapshot.bin.gz").read_bytes())


def loaded() -> dict[str, ModelMonitor]:
    """Return the monitors in it."""
    return snapshot.load("judge/0", before())


def line_of(finding: Finding) -> bytes:
    """Return a finding as the file of findings has it."""
    if isinstance(finding, Alert | Request):
        return event_of(finding)
    encoder = msgspec.msgpack.Encoder(enc_hook=array_out, order="deterministic")
    return b"learned " + hashlib.sha256(encoder.encode(finding)).hexdigest().encode()


@pytest.mark.parametrize("dumped", [False, True], ids=["loaded", "loaded and dumped again"])
@pytest.mark.parametrize("way", ["bind", "reconfigure"])
def test_a_snapshot_of_the_format_before_goes_on_with_the_same_alerts(way: str, dumped: bool) -> None:
    """Every alert, request and reference after an upgrade is to the byte that of the Driftline that wrote the snapshot."""
    following: dict[str, list[bytes]] = msgspec.msgpack.decode(gzip.decompress((DATA / "following.bin.gz").read_bytes()))
    monitors = loaded()
    if dumped:
        monitors = snapshot.load("judge/0", snapshot.dump(monitors))
    lines: list[bytes] = []
    for name, monitor in monitors.items():
        if way == "bind":
            monitor.bind(SPECS[name])
        else:
            assert monitor.reconfigure(SPECS[name]) == []
        found = [finding for value in following[name] for finding in monitor.add(window_codec.parse(value))]
        lines += [name.encode() + b" " + line_of(finding) for finding in found]
    assert lines == (DATA / "findings.jsonl").read_bytes().splitlines()


def test_the_snapshot_holds_what_an_upgrade_must_not_lose() -> None:
    """An open incident, a decision and parts that wait, a pickled detector, a recovery on its way and a recording are in it."""
    monitors = loaded()
    shop, day, slow = (monitors[name] for name in ("shop", "day", "slow"))
    assert shop.open_incidents
    assert [standing.decision.id for standing in shop.standing] == ["swap-2"]
    assert shop.channels["features"].aligner.parts
    assert shop.channels["features"].judges[""].relearning
    river = shop.channels["outcomes"].judges["eu"].monitors.river
    assert {type(armed.river).__module__ for armed in river.values()} == {"detectors.judging.detectors"}
    assert (day.channels["features"].judges[""].monitors.recovery.stage == RecoveryStage.RECOVERING).any()
    learner = slow.channels["features"].judges[""].learner
    assert learner is not None
    assert learner.recording is not None
    assert learner.recording.rollup.rollup_widths.tolist() == [8.0]


def test_what_was_loaded_has_the_types_of_today() -> None:
    """After an upgrade flags are bool and stages small integers, as in a snapshot that this Driftline wrote."""
    for monitors in (loaded(), snapshot.load("judge/0", snapshot.dump(loaded()))):
        held = monitors["shop"].channels["features"].judges[""].monitors
        types = {array.dtype for array in (held.up, held.fast, held.recovery.fired)}
        assert types == {np.dtype(np.bool_)}
        assert held.recovery.stage.dtype == np.int8
        assert held.recovery.shift.dtype == np.float64


def test_no_row_of_the_table_is_idle() -> None:
    """Each place of the table is in the snapshot of format 4, so a row that is wrong would be noticed."""
    state: dict[str, Any] = msgspec.msgpack.decode(before())
    idle = set()
    for change in snapshot_upgrade.CHANGES:
        structs = list(snapshot_upgrade._at(state, change.place.split("/")))
        idle |= set() if structs else {change.place}
        for struct in structs:
            change.apply(struct)
    # A feature that is learned apart has a recording only after a thousand windows; its rows are those of a first learner.
    recording = "models/*/channels/*/judges/*/relearning/*/recording"
    assert idle == {recording, f"{recording}/rollup"}


def test_a_format_before_that_is_refused() -> None:
    """Only one format back is read; the message names the way out."""
    older = msgspec.msgpack.encode({**msgspec.msgpack.decode(before()), "format": snapshot_upgrade.BEFORE - 1})
    with pytest.raises(StateError, match=r"format 3, written by .* which is older than format 5 .*driftline rebuild"):
        snapshot.load("judge/0", older)


def test_a_snapshot_that_lacks_a_field_is_refused() -> None:
    """State that an upgrade does not understand is an error with the way out, and never half loaded."""
    state: dict[str, Any] = msgspec.msgpack.decode(before())
    del state["models"]["shop"]["sides"]["features"]["judges"][""]["monitors"]["fired"]
    with pytest.raises(StateError, match=r"cannot be read .*driftline rebuild"):
        snapshot.load("judge/0", msgspec.msgpack.encode(state))


def test_a_reference_file_of_the_format_before_is_the_same_to_the_byte() -> None:
    """A file of format 3 is loaded with its version, and dumped again it is the file; widths of roll-ups are among it."""
    payload = (DATA / "references.json").read_bytes()
    reference_set = reference_file.load("references.json", payload)
    assert reference_file.dump(reference_set) == payload
    assert reference_set.segments["features"][""].learned["x"].rollup_width == 4


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (np.array([1.5, -0.0]), b"\x00\x00\x00\x00\x00\x00\xf8?\x00\x00\x00\x00\x00\x00\x00\x80"),
        (np.zeros((1, 0)), ([1, 0], b"")),
        (np.array([True, False]), ("|b1", [2], b"\x01\x00")),
        (np.array([[3], [-1]], dtype=np.int8), ("|i1", [2, 1], b"\x03\xff")),
        (np.array([1], dtype=">i2"), ("<i2", [1], b"\x01\x00")),
        (np.array([0.5], dtype=np.float32), ("<f4", [1], b"\x00\x00\x00?")),
    ],
)
def test_an_array_comes_back_as_it_was(array: np.ndarray, form: object) -> None:
    """Type, shape and values survive, and float64 has the form that versions of reference files rest on."""
    assert array_out(array) == form
    again = array_in(np.ndarray, msgspec.msgpack.decode(msgspec.msgpack.encode(form)))
    np.testing.assert_array_equal(again, array)
    assert (again.shape, again.dtype, again.flags.writeable) == (array.shape, array.dtype.newbyteorder("="), True)


def test_an_array_of_objects_is_not_written() -> None:
    """Python objects have no bytes of their own, and pointers would be nonsense in another process."""
    with pytest.raises(TypeError, match="array of objects"):
        array_out(np.array([object()]))
