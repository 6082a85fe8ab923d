"""The lanes: the table is whole, bounds decide, a run is stopped at its limit, and a full form goes on where it ended."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.documents import replaced, with_constants
from benchmarks.lanes import full as full_lane
from benchmarks.lanes.__main__ import DEVELOPMENT, main
from benchmarks.lanes.catalogue import LANES, documented
from benchmarks.lanes.full import FULL_SECONDS, KeptParts, full, written
from benchmarks.lanes.lane import BenchmarkLane, Bound, FullPart, Page
from benchmarks.lanes.quick import QUICK_SECONDS, as_json, faults_of, passed, quick
from benchmarks.lanes.running import BenchmarkRun, run
from detectors.errors import ConfigError, DriftlineError
from tests.support.paths import ROOT

#: In no lane: it compares two checkouts.
_BY_HAND = {"same_bytes"}


def test_every_benchmark_is_in_the_table():
    """What can be run in a room has a lane, and a lane names a module of its room."""
    found = {}
    for room in ("quality", "speed", "exactness"):
        for path in [*(ROOT / "benchmarks" / room).glob("*.py"), *(ROOT / "benchmarks" / room).glob("*/__main__.py")]:
            if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8"):
                found[path.parent.name if path.name == "__main__.py" else path.stem] = room
    assert {name: room for name, room in found.items() if name not in _BY_HAND} == {
        lane.name: lane.room for lane in LANES.values()
    }


def test_shares_fit_into_35_minutes_and_parts_into_an_hour():
    """The quick lane is done in 35 minutes by its shares, and each part of a full form fits into one run."""
    assert sum(lane.share_seconds for lane in LANES.values()) <= QUICK_SECONDS == 35 * 60
    assert all(part.seconds <= FULL_SECONDS == 3600 for lane in LANES.values() for part in lane.full)
    assert all(lane.bounds and lane.full for lane in LANES.values())


@pytest.mark.parametrize("name", LANES)
def test_the_document_has_a_mark_for_each_table(name: str):
    """A full form finds the markers in its document, and `make full-NAME` stands between them."""
    text = (ROOT / LANES[name].page.file).read_text(encoding="utf-8")
    replaced(text, f"full {name}", "")
    between = text.partition(f"<!-- full {name}: begin -->")[2].partition("<!-- full")[0]
    assert f"make full-{name}" in between


def test_the_table_of_lanes_is_in_the_document():
    """docs/development.md shows the table as it is."""
    text = DEVELOPMENT.read_text(encoding="utf-8")
    assert replaced(text, "lanes", documented()) == text, "run: python -m benchmarks.lanes list --write"


@pytest.mark.parametrize(
    ("bound", "faults"),
    [
        (Bound(("a",), most=1), ["a is 2, must be at most 1"]),
        (Bound(("a",), least=2), []),
        (Bound(("a",), least=3, most=4), ["a is 2, must be at least 3 and at most 4"]),
        (Bound(("b", "*", "c"), equal=True), ["b.1.c is False, must be True"]),
        (Bound(("d", "*"), least=0), ["d.x is None, must be at least 0"]),
        (Bound(("e",), least=0), ["there is no figure e"]),
        (Bound(("a", "f"), least=0), ["there is no figure a.f"]),
    ],
)
def test_a_bound_names_what_is_out_of_it(bound: Bound, faults: list[str]):
    """A figure that is out of bounds, or not there, is a sentence with the figure and the bound."""
    assert bound.faults({"a": 2, "b": [{"c": True}, {"c": False}], "d": {"x": None, "y": 1}}) == faults


def lane(
    name: str = "scaling", *, bounds: tuple[Bound, ...] = (), share_seconds: float = 60.0, parts: tuple[FullPart, ...] = ()
) -> BenchmarkLane:
    """Return a lane of the benchmark that is done in a second."""
    page = Page("page.md", lambda printed: f"{len(printed)} parts")
    return BenchmarkLane(name, "speed", "what", (), share_seconds, bounds, "checks", parts or (FullPart((), 60.0),), page)


def test_figures_decide_and_the_object_says_so(tmp_path: Path):
    """A benchmark whose figure is out of bounds fails, others pass, and the run fails with one of them."""
    good = lane(bounds=(Bound(("current",), equal=True),))
    bad = lane(bounds=(Bound(("constants", "load"), most=0.1),))
    results = quick([good, bad], tmp_path, say=lambda _text: None)
    assert [one.result for one in results] == ["passed", "failed"]
    assert results[1].faults == ("scaling: constants.load is 0.5, must be at most 0.1",)
    assert not passed(results)
    assert passed(results[:1])
    found = as_json(results[:1])
    assert found["passed"] is True
    assert found["benchmarks"]["scaling"]["cpu_seconds"] > 0


def test_a_run_that_exceeds_its_limit_is_stopped(tmp_path: Path):
    """It ends with all that it started, and the sentence says what to do."""
    found = run("budget", ("--parts", "speed"), log=tmp_path / "log", limit_seconds=0.1)
    assert found.late
    (fault,) = faults_of(lane("budget", share_seconds=0.05), found)
    assert fault.startswith("budget was stopped after 0 s, twice its share: take a smaller size")


def test_a_run_that_ends_with_another_status_shows_the_end_of_its_log(tmp_path: Path):
    """The sentence names the status, and the log follows."""
    found = run("scaling", ("--nothing",), log=tmp_path / "log", limit_seconds=60)
    (fault,) = faults_of(lane(), found)
    assert fault.startswith("scaling ended with status 2")
    assert "unrecognized arguments: --nothing" in fault


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with a document that has markers, in place of the project."""
    (tmp_path / "page.md").write_text("before\n<!-- full scaling: begin -->\nold\n<!-- full scaling: end -->\nafter\n")
    return tmp_path


def test_a_full_form_goes_on_where_it_ended(checkout: Path):
    """Parts that are kept are not run again, the table has all parts, and then they are forgotten."""
    both = lane(parts=(FullPart(("--kept",), 60.0), FullPart((), 60.0)))
    KeptParts(checkout, "scaling", full_lane.commit_of(checkout)).add(("--kept",), {"benchmark": "scaling"})
    said = full(both, checkout, say=lambda _text: None, root=checkout)
    assert said == "scaling: the table is in page.md"
    text = (checkout / "page.md").read_text()
    assert text.startswith("before\n<!-- full scaling: begin -->\n2 parts\n\nMade by `make full-scaling` on 2")
    assert text.endswith("<!-- full scaling: end -->\nafter\n")
    assert not (checkout / "scaling.json").exists()


def test_a_part_that_fails_is_not_kept_and_the_ones_before_it_are(checkout: Path):
    """The error names the part, the document stays as it was, and the next run begins with that part."""
    both = lane(parts=(FullPart((), 60.0), FullPart(("--nothing",), 60.0)))
    with pytest.raises(DriftlineError, match="scaling, part 2 of 2: --nothing ended with status 2"):
        full(both, checkout, say=lambda _text: None, root=checkout)
    assert "old" in (checkout / "page.md").read_text()
    assert list(json.loads((checkout / "scaling.json").read_text())["parts"]) == [""]


def test_parts_of_another_commit_count_for_nothing(tmp_path: Path):
    """Figures of two versions of the code are never in one table."""
    KeptParts(tmp_path, "x", "aaaaaaa").add(("--a",), {"figure": 1})
    assert KeptParts(tmp_path, "x", "aaaaaaa").parts == {"--a": {"figure": 1}}
    assert KeptParts(tmp_path, "x", "bbbbbbb").parts == {}


def test_a_part_that_does_not_fit_into_the_hour_is_left_to_the_next_run(checkout: Path):
    """The first part always begins; the error says how many are done and how to go on."""
    both = lane(parts=(FullPart((), 60.0), FullPart(("--write",), FULL_SECONDS)))
    with pytest.raises(DriftlineError, match=r"1 of 2 parts are done, .* run make full-scaling again"):
        full(both, checkout, say=lambda _text: None, root=checkout)


#: What a full form prints, cut down to what its table shows.
_PRINTED: dict[str, list[dict[str, Any]]] = {
    "budget": [
        {
            "features": 1000,
            "weeks": 4.0,
            "budget_per_week": 1.0,
            "false_alarms": {"gaussian": 0},
            "median_delay_s": {"gaussian": {"+1": 118.0, "two humps": None}},
            "floors": {"gaussian": {"never": {"median_s": None}}},
            "notifications_of_one_incident": 1,
            "feature_windows_per_second": 180_000,
        }
    ],
    "latency": [{"alerts": 5, "events_per_second": 9, "p50_seconds": 0.2, "p99_seconds": 0.71, "max_seconds": 0.8}],
    "scale": [{"ratio_by_clock": 1.73, "ratio_by_cpu": 1.85, "broker_microseconds_per_event_read": 0.31}],
    "soak": [
        {
            "trends": {"worker memory": {"at_first": 1.0, "growth": 0.0, "allowed": 2.0, "flat": True}},
        }
    ],
}


@pytest.mark.parametrize("name", _PRINTED)
def test_a_table_goes_into_the_document_with_date_and_commit(name: str):
    """Between the markers stand the table and where it comes from, and constants have new values."""
    text = (ROOT / LANES[name].page.file).read_text(encoding="utf-8")
    new = written(text, LANES[name], _PRINTED[name], commit="abc1234", date="2027-01-02")
    assert f"Made by `make full-{name}` on 2027-01-02 at commit `abc1234`." in new
    for constant, value in LANES[name].page.constants(_PRINTED[name]).items():
        assert f"| `{constant}` | {value:g} |" in new


def test_a_constant_without_a_row_is_named():
    """Nothing is written that nobody reads."""
    with pytest.raises(ConfigError, match="load: expected one row of a table, got 0"):
        with_constants("| `other` | 1 | x |", {"load": 1.0})


def test_markers_that_are_missing_are_named():
    """The sentence shows the two lines to write."""
    with pytest.raises(ConfigError, match="<!-- full x: begin --> and <!-- full x: end -->"):
        replaced("nothing", "full x", "table")


def test_an_unknown_name_fails_with_a_sentence(capsys: pytest.CaptureFixture[str]):
    """It names the nearest benchmark and all others, and the exit status is that of a wrong setting."""
    assert main(["full", "choas"]) == 2
    assert capsys.readouterr().err.startswith("Error: there is no benchmark 'choas', did you mean \"chaos\"?; there are budget")
    assert main(["full"]) == 2


def test_make_knows_every_full_form_by_its_pattern():
    """`make -n full-NAME` works for any name, because an unknown one fails when it is run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "full-budget"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("-m benchmarks.lanes full budget")


def test_a_log_without_an_object_has_no_figures(tmp_path: Path):
    """What was printed is empty then, so every bound says that its figure is not there."""
    log = tmp_path / "log"
    log.write_text("no object\n")
    found = BenchmarkRun(0, 1.0, 1.0, late=False, printed={}, log=log)
    assert faults_of(lane(bounds=(Bound(("a",), equal=1),)), found) == ["scaling: there is no figure a"]
