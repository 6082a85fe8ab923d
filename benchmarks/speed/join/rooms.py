"""The parts of `benchmarks.join`: each runs what it needs, prints its table and returns its figures."""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.machine import BenchmarkServers, pin, show_table
from benchmarks.speed.join.parts import OUTCOME_STEPS, PLAIN_STEPS, RECORD_STEPS, ROW_STEPS
from benchmarks.speed.join.stream import EventWriter, fetches, predictions_and_labels
from benchmarks.speed.join.workers import (
    WITH_DOUBLES,
    WITH_IDS,
    WITH_LABELS,
    WITH_ROWS,
    WITHOUT_IDS,
    CaseRunner,
    WorkerCase,
    WorkerRun,
)
from detectors.errors import UnavailableError
from driftline.servers.child import Child
from streams.kafka import create_topics
from streams.settings import KafkaSettings

_CHILD_SECONDS, _RIVAL_SECONDS, _TOPIC_SECONDS = 1800.0, 150.0, 30.0
#: Predictions of the log whose writer is killed, at most.
_MOST_KILLED = 1_000_000
#: Cases whose worker is looked at when it is idle.
_IDLE_CASES = (WITHOUT_IDS, WITH_LABELS)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Args:
        records: of a worker's case, in so many `rounds`.
        waiting: predictions whose memory is measured; `loaded` of those that are loaded.
        rival: predictions that plain Faust gets; `parts` those that go through the steps.
        idle: seconds for which an idle worker is looked at.
        brief: leaves out the workers that decide nothing.
    """

    records: int
    rounds: int
    waiting: int
    loaded: int
    rival: int
    parts: int
    idle: float
    brief: bool = False

    def changed(self, records: int | None, rounds: int | None, waiting: int | None) -> Sizes:
        """Return the sizes with what was asked for instead; a run of few records is small in all."""
        found = replace(self, rounds=rounds or self.rounds)
        if records is not None:
            found = replace(found, records=records, idle=min(self.idle, records / 10_000))
            found = replace(found, rival=min(self.rival, records), parts=min(self.parts, records))
        if waiting is not None:
            found = replace(found, waiting=waiting, loaded=waiting)
        return found


def _child(on: BenchmarkServers, module: str, *arguments: str, seconds: float = _CHILD_SECONDS) -> dict[str, Any]:
    """Run a module of this package on the measured core and return the JSON of its last line."""
    child = _started(on, module, *arguments)
    with child:
        status = child.wait(seconds)
        if status != 0:
            raise UnavailableError(f"{child.name} ended with status {status}; it said:\n{child.tail()}")
    result: dict[str, Any] = json.loads(child.log.read_text().splitlines()[-1])
    return result


def _started(on: BenchmarkServers, module: str, *arguments: str) -> Child:
    name = f"benchmarks.speed.join.{module}"
    log = on.home / f"{module}-{time.monotonic_ns()}.log"
    child = Child([sys.executable, "-m", name, *arguments], log=log, name=name).start()
    pin(child.pid, on.cores.measured)
    return child


# -- whole workers -----------------------------------------------------------------------------------


def workers(on: BenchmarkServers, sizes: Sizes, end: float) -> dict[str, Any]:
    """Run the cases in turns."""
    runner = CaseRunner(on, sizes.records, end)
    runs: dict[WorkerCase, list[WorkerRun]] = defaultdict(list)
    for number in range(sizes.rounds):
        for case in (WITHOUT_IDS, WITH_IDS, WITH_LABELS, WITH_ROWS):
            # What ids cost alone decides nothing: once is enough.
            if case is not WITH_IDS or (number == 0 and not sizes.brief):
                looks = case in _IDLE_CASES and number == 0
                runs[case].append(runner.run(case, idle_seconds=sizes.idle if looks else 0.0))
    if not sizes.brief:
        runs[WITH_DOUBLES].append(CaseRunner(on, max(1000, sizes.records // 4), end, prefix="join-doubles").run(WITH_DOUBLES))
    cpu = {case: statistics.median(one.microseconds for one in of_case) for case, of_case in runs.items()}
    rows = []
    for case, of_case in runs.items():
        low, high = (chosen(one.microseconds for one in of_case) for chosen in (min, max))
        last = of_case[-1]
        idle = next((one.idle_share for one in of_case if one.idle_share is not None), None)
        rows.append(
            [
                case.name,
                f"{len(of_case)}",
                f"{cpu[case]:.2f}",
                f"{low:.2f} to {high:.2f}",
                f"{cpu[WITHOUT_IDS] / cpu[case]:.2f}" if case.digits == "decimals" else "-",
                f"{last.join_bytes / last.predictions:.0f}" if case.with_ids else "-",
                f"{last.row_bytes / last.predictions:.0f}" if case.retrained else "-",
                f"{last.outcome_bytes / last.outcomes:.0f}" if last.outcomes else "-",
                f"{statistics.median(one.redis_keys for one in of_case):.0f}",
                f"{statistics.median(one.redis_bytes for one in of_case) / 1024:.0f}",
                f"{last.resident_bytes / 2**20:.0f}",
                f"{100 * idle:.1f} %" if idle is not None else "-",
            ]
        )
    columns = ["worker", "runs", "CPU us/record", "range", "of no ids", "join B", "rows B", "outcome B"]
    columns += ["Redis keys", "Redis KiB", "grew MiB", "idle"]
    print(f"whole workers, {sizes.records:,} records; bytes on the broker's disk of a prediction, or of an outcome")
    show_table(columns, rows, "whole workers")
    print()
    joined = runs[WITH_ROWS][-1]
    return {
        "ratio": cpu[WITHOUT_IDS] / cpu[WITH_LABELS],
        "ratio_with_rows": cpu[WITHOUT_IDS] / cpu[WITH_ROWS],
        "cpu_microseconds": {case.name: round(value, 2) for case, value in cpu.items()},
        "disk_bytes": {
            "join": joined.join_bytes / joined.predictions,
            "rows": joined.row_bytes / joined.predictions,
            "outcome": joined.outcome_bytes / max(1, joined.outcomes),
            "two decimals": (joined.join_bytes + joined.row_bytes) / joined.predictions,
            **({} if sizes.brief else {"full doubles": _disk(runs[WITH_DOUBLES][-1])}),
        },
        "redis_keys": _median(runs[WITH_LABELS], "redis_keys") - _median(runs[WITHOUT_IDS], "redis_keys"),
        "redis_bytes": (_median(runs[WITH_LABELS], "redis_bytes") - _median(runs[WITHOUT_IDS], "redis_bytes"))
        / runs[WITH_LABELS][0].predictions,
        "idle_share": {case.name: runs[case][0].idle_share for case in _IDLE_CASES},
        **({} if sizes.brief else _of_ids(cpu[WITHOUT_IDS] / cpu[WITH_IDS], runs[WITH_IDS][-1], runs[WITHOUT_IDS][-1])),
    }


def _of_ids(ratio: float, waiting: WorkerRun, without: WorkerRun) -> dict[str, float]:
    """Return what predictions that all wait show: their rate, and the memory of a worker for each."""
    return {"ratio_with_ids": ratio, "worker_memory_bytes": (waiting.resident_bytes - without.resident_bytes) / waiting.waiting}


def _disk(one: WorkerRun) -> float:
    return (one.join_bytes + one.row_bytes) / one.predictions


def _median(runs: Sequence[WorkerRun], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in runs))


# -- the core in processes of its own ---------------------------------------------------------------


def memory(on: BenchmarkServers, sizes: Sizes, end: float) -> dict[str, Any]:
    """Let predictions wait, classes and numbers, at one or two sizes."""
    found: dict[str, dict[str, float]] = {}
    counts = sorted({min(1_000_000, sizes.waiting), sizes.waiting})
    rows = []
    for count in counts:
        for said in ("classes", "numbers"):
            one = _child(on, "memory", "--predictions", f"{count}", "--end", f"{end}", "--answers", said)
            if one["predictions"] != count or one["level"]:
                raise UnavailableError(f"{count} predictions were fed and {one['predictions']} wait: the run measures nothing")
            found.setdefault(said, {})[f"{count}"] = one["bytes"]
            rows.append([f"{count:,}", said, f"{one['bytes']:.1f}", f"{one['bytes_at_most']:.1f}"])
    print("memory of a process that has the core alone")
    show_table(["waiting", "answers", "bytes each", "at most meanwhile"], rows, "memory")
    print()
    return {"bytes": {said: max(sizes_of.values()) for said, sizes_of in found.items()}, "by_size": found}


def loading(on: BenchmarkServers, sizes: Sizes, end: float) -> dict[str, Any]:
    """Kill a writer and load what it left; then write a whole log, and load that."""
    killed = _killed(on, min(_MOST_KILLED, sizes.loaded), end)
    where = _topics(on, "join-whole")
    size = ["--predictions", f"{sizes.loaded}", "--end", f"{end}"]
    written = _child(on, "loading", "write", *where, *size)
    whole = _child(on, "loading", "load", *where, *size)
    if whole["waiting"] != sizes.loaded or whole["end"] != written["records"]:
        raise UnavailableError(f"{sizes.loaded} predictions were written and {whole['waiting']} loaded: the run measures nothing")
    state = f"another state: {killed['differs_in']}" if killed["differs_in"] else "the same state"
    print(f"load from the log; a writer was killed after {killed['acknowledged']:,} records were acknowledged, and left {state}")
    show_table(
        ["log", "end", "waiting", "CPU s", "us/record", "longest take ms"],
        [
            ["killed", f"{killed['end']:,}", f"{killed['waiting']:,}", "-", "-", f"{killed['longest_take_ms']:.1f}"],
            [
                "whole",
                f"{whole['end']:,}",
                f"{whole['waiting']:,}",
                f"{whole['cpu_seconds']:.2f}",
                f"{1e6 * whole['cpu_seconds'] / whole['end']:.2f}",
                f"{written['longest_take_ms']:.1f}",
            ],
        ],
        "load",
    )
    print()
    return {
        "same_state": not killed["differs_in"],
        "differs_in": killed["differs_in"],
        "killed_at": killed["acknowledged"],
        "load_cpu_seconds": whole["cpu_seconds"],
        "load_seconds": whole["seconds"],
        "load_microseconds": 1e6 * whole["cpu_seconds"] / whole["end"],
        "loaded_bytes": whole["bytes"],
        "log_bytes": written["bytes"] / sizes.loaded,
        "largest_chunk_bytes": written["largest_chunk_bytes"],
        "takes_meanwhile": killed["takes_meanwhile"],
        "longest_take_ms": {
            "index grows": max(written["longest_growing_take_ms"], written["longest_take_ms"]),
            "while another loads": killed["longest_take_ms"],
        },
        "write_microseconds": {"take": written["take_microseconds"], "chunks": written["chunk_microseconds"]},
    }


def _topics(on: BenchmarkServers, prefix: str) -> list[str]:
    """Create the topics of a deployment of one partition, and return where they are as arguments."""
    create_topics(KafkaSettings(bootstrap=on.kafka.bootstrap, prefix=prefix, partitions=1))
    return ["--bootstrap", on.kafka.bootstrap, "--prefix", prefix]


def _killed(on: BenchmarkServers, predictions: int, end: float) -> dict[str, Any]:
    """Kill a writer when it is about in the middle, and return how the state that is loaded compares."""
    where = _topics(on, "join-killed")
    size = ["--predictions", f"{predictions}", "--end", f"{end}"]
    stop = random.Random(3).uniform(0.4, 1.6) * predictions
    writer = _started(on, "loading", "write", *where, *size)

    def beyond() -> int | None:
        lines = writer.log.read_text().splitlines() if writer.log.exists() else []
        if len(lines) > 1 and lines[-1].startswith("{"):
            raise UnavailableError("the writer ended before it was killed: the run measures nothing")
        # The last line may be half a number.
        reached = int(lines[-2]) if len(lines) > 1 and lines[-2].isdigit() else 0
        return reached if reached >= stop else None

    with writer:
        acknowledged = writer.until(beyond, timeout_seconds=_CHILD_SECONDS)
        writer.kill()
    found = _child(on, "loading", "load", "--compare", *where, *size)
    if found["end"] < acknowledged:
        found["differs_in"].append(f"{acknowledged} records were acknowledged, and {found['end']} loaded")
    return {**found, "acknowledged": acknowledged}


# -- the rival, and the steps -----------------------------------------------------------------------


def rival(on: BenchmarkServers, sizes: Sizes, end: float) -> dict[str, Any]:
    """Let a plain Faust agent join with a Table."""
    stores = ["memory://", *(["rocksdb://"] if importlib.util.find_spec("rocksdict") else [])]
    stream = predictions_and_labels(sizes.rival, end)
    writer = EventWriter()
    admin = AdminClient({"bootstrap.servers": on.kafka.bootstrap, "log_level": 2})
    producer = Producer({"bootstrap.servers": on.kafka.bootstrap, "log_level": 2})
    names = ["plain-join", "plain-join-outcomes"]
    for created in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        created.result(_TOPIC_SECONDS)
    for places in fetches(stream):
        keys, values = writer.values(stream, places)
        producer.produce_batch(
            names[0], [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)], partition=0
        )
        producer.flush(_TOPIC_SECONDS)
    found: dict[str, float] = {}
    rows = []
    for store in stores:
        data = on.home / f"faust-{store.partition(':')[0]}"
        arguments = ["--bootstrap", on.kafka.bootstrap, "--topic", names[0], "--store", store, "--datadir", str(data)]
        one = _child(on, "plain_faust", *arguments, "--records", f"{len(stream)}", seconds=_RIVAL_SECONDS)
        labels = stream.row[stream.labelled]
        if one["outcomes"] != len(np.unique(labels[labels < stream.predictions])):
            raise UnavailableError(f"plain Faust made {one['outcomes']} outcomes: the run measures nothing")
        found[store] = 1e6 * one["cpu_seconds"] / one["records"]
        rows.append([store, f"{one['records']:,}", f"{one['outcomes']:,}", f"{found[store]:.0f}"])
    show_table(["plain Faust, Table", "records", "outcomes", "CPU us/record"], rows, "rival")
    print()
    return {"cpu_microseconds": found}


def parts(on: BenchmarkServers, sizes: Sizes, end: float) -> dict[str, Any]:
    """Print the steps of a worker, and what they say of the ratio."""
    one = _child(on, "parts", "--predictions", f"{sizes.parts}", "--end", f"{end}")
    took, size = one["microseconds"], one["bytes"]
    for_each = {
        **dict.fromkeys(PLAIN_STEPS, ("prediction without id", 1.0)),
        **dict.fromkeys(RECORD_STEPS, ("record", 1.0)),
        **dict.fromkeys(OUTCOME_STEPS, ("outcome", size["outcomes_of_a_record"])),
        **dict.fromkeys(ROW_STEPS, ("prediction", size["predictions_of_a_record"])),
    }
    plain = sum(took[step] for step in PLAIN_STEPS)
    whole = sum(took[step] * for_each[step][1] for step in (*RECORD_STEPS, *OUTCOME_STEPS))
    with_rows = whole + sum(took[step] * for_each[step][1] for step in ROW_STEPS)
    rows = [[step, what, f"{took[step]:.2f}", f"{took[step] * weight:.2f}"] for step, (what, weight) in for_each.items()]
    rows += [
        ["no ids, in all", "record", "", f"{plain:.2f}"],
        ["ids and labels, in all", "record", "", f"{whole:.2f}"],
        ["and training rows", "record", "", f"{with_rows:.2f}"],
    ]
    print("where the time goes, without sending and waiting")
    show_table(["step", "of each", "CPU us", "us/record"], rows, "steps")
    print(f"of the rate without ids, by these steps: {plain / whole:.2f}, with training rows {plain / with_rows:.2f}")
    print()
    return {
        "microseconds": {step: round(value, 3) for step, value in took.items()},
        "ratio": plain / whole,
        "ratio_with_rows": plain / with_rows,
        "bytes": size,
    }
