"""The metrics of a process: old names beside new ones, and a port that cannot be listened on."""

from __future__ import annotations

import doctest
import socket

import pytest

import streams.listening
from detectors.errors import UnavailableError
from streams.metrics import CATALOGUE, Metrics, MetricSpec

pytestmark = pytest.mark.fast

RENAMED = [spec for spec in CATALOGUE if spec.alias_of]
SPECS = {spec.name: spec for spec in CATALOGUE}


def values(metrics: Metrics, spec: MetricSpec) -> list[float]:
    """Return the values of a gauge's series."""
    return [sample.value for family in metrics.registry.collect() if family.name == spec.name for sample in family.samples]


@pytest.mark.parametrize("old", RENAMED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("set_old", [False, True], ids=["set under the new name", "set under the old name"])
def test_a_renamed_gauge_has_one_value_under_both_names(old: MetricSpec, *, set_old: bool) -> None:
    """Setting either name sets both, and clearing either clears both."""
    new = SPECS[old.alias_of]
    metrics, labels = Metrics(), dict.fromkeys(old.labels, "m")
    metrics.gauge(old.name if set_old else new.name, 0.25, **labels)
    assert values(metrics, old) == values(metrics, new) == [0.25]
    metrics.clear(old.name if set_old else new.name)
    assert values(metrics, old) == values(metrics, new) == []


@pytest.mark.parametrize("old", RENAMED, ids=lambda spec: spec.name)
def test_an_old_name_is_a_row_like_the_new_one(old: MetricSpec) -> None:
    """Kind, labels and process are those of the new row, which is there and is no old name itself."""
    new = SPECS[old.alias_of]
    assert new.alias_of == ""
    assert (old.kind, old.labels, old.process) == (new.kind, new.labels, new.process) == ("gauge", new.labels, new.process)


@pytest.mark.slow
def test_a_taken_port_is_one_sentence_with_the_remedy() -> None:
    """The address, the system's reason, and what the caller says should be done."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as refused:
            Metrics().serve("127.0.0.1", port, remedy="set another port")
    assert str(refused.value) == f"cannot listen on 127.0.0.1:{port} (Address already in use): set another port"


def test_the_example_in_the_docstring_holds() -> None:
    """The example of `streams.listening` gives what it shows."""
    found = doctest.testmod(streams.listening)
    assert found.attempted > 0
    assert found.failed == 0
