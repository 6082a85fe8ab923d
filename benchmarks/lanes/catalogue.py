"""The one table of all lanes: each benchmark, what it runs in the quick lane and by hand, and what is checked.

The shares of the quick lane add up to 35 minutes at most (`tests/benchmarks/test_lanes.py`). A share is about what the quick form
takes on two busy cores; an idle machine needs less. Bounds of CPU time are ratios of one run, with room for a busy machine. All
other bounds are of figures that follow from the seed, or of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.lanes import tables
from benchmarks.lanes.lane import ANY, BenchmarkLane, Bound, FullPart, Need, Page
from driftline.text.tables import columns, markdown

_DETECTION, _SCALING, _DEVELOPMENT = "docs/detection.md", "docs/scaling.md", "docs/development.md"
_SERVERS: frozenset[Need] = frozenset({"servers"})
_DATA: frozenset[Need] = frozenset({"data"})
_MEASURES = ("worker memory", "worker files", "retrainer memory", "retrainer files")
_SCENARIOS = ("calm", "kill-9", "broker-restart", "redis-freeze", "zombie")
_SCENARIO_COUNTS = ("alerts", "retrains", "outcomes", "windows", "dead", "late")
#: Kinds of streams that two processes simulate at the same time.
_PAIRS = (
    ("gaussian", "t3"),
    ("log-normal", "poisson 0.5"),
    ("AR 0.9", "AR 0.99"),
    ("daily", "daily x3"),
    ("daily + AR 0.9", "log-normal x daily"),
)
_NOTHING = (FullPart((), 600.0),)

_TABLE = (
    BenchmarkLane(
        "budget",
        "quality",
        what="false alarms, delays and notifications over simulated weeks, and windows judged a second",
        quick=("--features", "60", "--weeks", "1", "--rounds", "1", "--kinds", "gaussian", "daily", "AR 0.9"),
        share_seconds=360.0,
        bounds=(
            Bound(("false_alarms", ANY), most=1),
            *(Bound(("missed", kind, change), most=0) for kind in ("gaussian", "daily") for change in ("+0.25", "+0.5", "+1")),
            Bound(("missed", ANY, "+2"), most=0),
            Bound(("missed", ANY, "30 % nulls"), most=0),
            Bound(("median_delay_s", "gaussian", "+2"), most=180),
            Bound(("median_delay_s", "daily", "+2"), most=180),
            Bound(("notifications_of_one_incident",), equal=1),
            Bound(("feature_windows_per_second",), least=20_000),
        ),
        checks="false alarms, missed changes, delays and notifications of one seed; windows judged by CPU time",
        full=(
            *(FullPart(("--parts", "delays", "--kinds", kind), 600.0) for kind in ("gaussian", "daily", "AR 0.9", "log-normal")),
            *(FullPart(("--parts", "alarms", "--kinds", *pair), 1500.0) for pair in _PAIRS),
            FullPart(("--parts", "notifications"), 300.0),
            FullPart(("--parts", "speed"), 300.0),
        ),
        page=Page(_DETECTION, tables.budget),
    ),
    BenchmarkLane(
        "seasonal",
        "quality",
        what="alarms and detected changes on real series with a daily and weekly cycle",
        quick=("--quick",),
        share_seconds=150.0,
        bounds=(
            Bound(("alarms_per_week",), most=0.2),
            Bound(("found", "level +1 sd"), least=0.5),
            Bound(("found", "level +2 sd"), least=0.8),
            Bound(("floors", "never", "found"), equal=0),
        ),
        checks="alarms a week and the share found, on data that are not shipped",
        full=(FullPart((), 1800.0),),
        page=Page(_DETECTION, tables.seasonal),
        needs=_DATA,
    ),
    BenchmarkLane(
        "points",
        "quality",
        what="known change points of annotated series and labelled streams",
        quick=("--quick",),
        share_seconds=30.0,
        bounds=(Bound(("data", ANY, "driftline", "false_alarms"), most=0),),
        checks="false alarms on the annotated series of River",
        full=_NOTHING,
        page=Page(_DETECTION, tables.points),
    ),
    BenchmarkLane(
        "injected",
        "quality",
        what="drifts put into labelled rows, beside River's detectors",
        quick=("--quick",),
        share_seconds=150.0,
        bounds=(
            Bound(("abrupt", "watchers", "Driftline, errors", "f1"), least=0.65),
            Bound(("gradual", "watchers", "Driftline, errors", "f1"), least=0.6),
            Bound((ANY, "watchers", "Driftline, errors", "false_per_100k"), most=2),
            Bound((ANY, "watchers", "never", "f1"), equal=0),
        ),
        checks="F1 and false alarms of one seed",
        full=(FullPart((), 2400.0), FullPart(("--settled",), 2400.0)),
        page=Page(_DETECTION, tables.injected),
    ),
    BenchmarkLane(
        "stock",
        "quality",
        what="false alarms of River's detectors, which keep no budget",
        quick=("--monitors", "5", "--windows", "800"),
        share_seconds=120.0,
        bounds=(Bound(("detectors", ANY, "0", "off"), least=-4, most=4),),
        checks="the stated false-alarm rates of River's detectors, of one seed",
        full=(FullPart((), 3000.0),),
        page=Page(_DETECTION, tables.stock),
    ),
    BenchmarkLane(
        "chaos",
        "exactness",
        what="the same alerts after crashes, freezes and rescaling",
        quick=("--quick",),
        share_seconds=330.0,
        bounds=(
            Bound(("exact",), equal=True),
            *(Bound(("scenarios", str(at), "name"), equal=name) for at, name in enumerate(_SCENARIOS)),
            *(Bound(("scenarios", ANY, name), least=1) for name in _SCENARIO_COUNTS),
            Bound(("scenarios", "1", "disturbances", "kills"), least=1),
        ),
        checks="the same alerts to the byte, whatever the seed",
        full=tuple(FullPart(("--seed", "2026", "--partitions", str(count)), 1000.0) for count in (1, 4, 12)),
        page=Page(_DEVELOPMENT, tables.chaos),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "soak",
        "speed",
        what="memory, files, lag and snapshots under steady load",
        quick=("--quick",),
        share_seconds=180.0,
        bounds=(
            *(Bound(("trends", name, "flat"), equal=True) for name in _MEASURES),
            Bound(("exit_statuses", ANY), equal=0),
            Bound(("counted", "dead_letters_total"), equal=0),
            Bound(("counted", "events_total"), least=1),
        ),
        checks="growth of memory and open files; processes that end in order",
        full=(FullPart(("--minutes", "10"), 720.0),),
        page=Page(_SCALING, tables.soak),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "throughput",
        "speed",
        what="events a second of one worker, beside a plain Faust agent and a bare loop",
        quick=("--events", "100000", "--repeats", "1", "--brief"),
        share_seconds=210.0,
        bounds=(Bound(("cpu_ratio_to_plain_faust",), least=10), Bound(("cpu_ratio_to_bare_loop",), least=0.4)),
        checks="CPU time beside that of a plain Faust agent and of a bare loop, in one run",
        full=(FullPart(("--data", "numeric"), 900.0), FullPart(("--data", "mixed"), 900.0)),
        page=Page(_SCALING, tables.throughput, tables.throughput_constants),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "join",
        "speed",
        what="predictions with labels beside those without ids: rate, memory, disk, load after kill -9, a plain Faust table",
        quick=("--quick",),
        share_seconds=135.0,
        bounds=(
            # A ratio of a short run beside other work scatters by a third, and must be 0.6 in the full form.
            Bound(("ratio",), least=0.45),
            Bound(("ratio_with_rows",), least=0.4),
            Bound(("times_plain_faust", "memory://"), least=15),
            # Of 300,000 rows some MB of a process are 15 bytes a row more or less: the full form measures 10 million.
            Bound(("memory_bytes", "classes"), most=130),
            Bound(("memory_bytes", "numbers"), most=150),
            Bound(("disk_bytes", "join"), most=60),
            Bound(("disk_bytes", "two decimals"), most=100),
            Bound(("disk_bytes", "full doubles"), most=220),
            Bound(("largest_chunk_bytes",), most=900_000),
            Bound(("redis_keys",), most=0),
            Bound(("same_state",), equal=True),
        ),
        checks="CPU time beside that without ids and that of plain Faust; bytes in memory and on disk; the state after kill -9",
        full=(FullPart(("--only", "workers", "rival"), 1500.0), FullPart(("--only", "memory", "loading", "parts"), 1200.0)),
        page=Page(_SCALING, tables.join, tables.join_constants),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "latency",
        "speed",
        what="the time from a window's close to its alert, and a backlog read at full speed",
        quick=("--backlog", "100000", "--seconds", "30", "--rate", "1000"),
        share_seconds=120.0,
        bounds=(
            Bound(("alerts",), least=1),
            Bound(("catch_up", "flat"), equal=True),
            Bound(("catch_up", "events"), equal=100_000),
        ),
        checks="alerts come, and memory while a backlog is read",
        full=(FullPart((), 600.0),),
        page=Page(_SCALING, tables.latency, lambda printed: {"alert_p99_seconds": printed[0]["p99_seconds"]}),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "scale",
        "speed",
        what="two workers beside one",
        quick=("--events", "200000", "--repeats", "1"),
        share_seconds=90.0,
        bounds=(Bound(("ratio_by_cpu",), least=1.2),),
        checks="CPU time of the busiest of two workers beside that of one",
        full=(FullPart((), 600.0),),
        page=Page(
            _SCALING,
            tables.scale,
            lambda printed: {"broker_read_microseconds": printed[0]["broker_microseconds_per_event_read"]},
        ),
        needs=_SERVERS,
    ),
    BenchmarkLane(
        "growth",
        "speed",
        what="time and memory of an event as features, segments, windows and bytes grow",
        quick=("--scale", "0.02", "--repeats", "3"),
        share_seconds=120.0,
        bounds=(Bound(("steepest", "memory", ANY), most=1.3), Bound(("steepest", "time", ANY), most=1.7)),
        checks="slopes of CPU time and memory, within one run",
        full=(FullPart((), 1200.0),),
        page=Page(_SCALING, tables.growth),
    ),
    BenchmarkLane(
        "judging",
        "speed",
        what="CPU time of a judge, and bytes of its snapshot",
        quick=("--quick",),
        share_seconds=60.0,
        bounds=(Bound(("feature_growth",), most=1.5), Bound(("snapshot_bytes_per_feature",), most=7000)),
        checks="CPU time of a feature among many beside few, within one run; bytes of a snapshot",
        full=(FullPart((), 600.0),),
        page=Page(
            _SCALING,
            tables.figures("feature_microseconds", "part_microseconds", "snapshot_bytes_per_feature", "feature_growth"),
            lambda printed: {
                "judge_feature_microseconds": printed[0]["feature_microseconds"],
                "judge_part_microseconds": printed[0]["part_microseconds"],
                "snapshot_feature_bytes": printed[0]["snapshot_bytes_per_feature"],
            },
        ),
    ),
    BenchmarkLane(
        "cli_start",
        "speed",
        what="the start of the command line",
        quick=(),
        share_seconds=30.0,
        bounds=(Bound(("cpu_ratio_to_bare_python",), most=20),),
        checks="CPU time of `driftline --help` beside that of a Python that does nothing",
        full=(FullPart(("--runs", "50"), 120.0),),
        page=Page(
            _DEVELOPMENT, tables.figures("median_seconds", "bare_python_seconds", "cpu_seconds", "cpu_ratio_to_bare_python")
        ),
    ),
    BenchmarkLane(
        "scaling",
        "speed",
        what="what a deployment needs, computed from the constants of docs/scaling.md",
        quick=(),
        share_seconds=15.0,
        bounds=(Bound(("current",), equal=True),),
        checks="the table of docs/scaling.md follows from its constants",
        full=(FullPart((), 60.0),),
        page=Page(_SCALING, lambda _printed: "Computed from the constants above by the benchmark `scaling`."),
    ),
)

#: Name -> the benchmark; `same_bytes` compares two checkouts and is for hand use only.
LANES: dict[str, BenchmarkLane] = {lane.name: lane for lane in _TABLE}


def listed(lanes: Sequence[BenchmarkLane]) -> str:
    """Return a table of the lanes for a terminal, with the arguments of the quick forms."""
    headings = ["benchmark", "room", "quick form", "share s", "parts", "minutes at most", "what the quick form checks"]
    rows = [
        [lane.name, lane.room, " ".join(lane.quick), f"{lane.share_seconds:.0f}", *_full(lane), lane.checks] for lane in lanes
    ]
    return columns(headings, rows)


def documented() -> str:
    """Return the table of docs/development.md."""
    headings = ["benchmark", "room", "what it measures", "quick: share, s", "what the quick form checks"]
    headings += ["full: parts", "minutes at most, in all", "its table"]
    rows = [
        [
            f"`{lane.name}`",
            lane.room,
            lane.what,
            f"{lane.share_seconds:.0f}",
            lane.checks,
            *_full(lane),
            f"[{Path(lane.page.file).name}]({Path(lane.page.file).name})",
        ]
        for lane in LANES.values()
    ]
    rows.append(["all", "", "", f"{sum(lane.share_seconds for lane in LANES.values()):,.0f}", "", "", "", ""])
    return markdown(headings, rows)


def _full(lane: BenchmarkLane) -> list[str]:
    return [f"{len(lane.full)}", f"{sum(part.seconds for part in lane.full) / 60:.0f}"]
