"""The account: what a run left behind against what has to be there, difference by difference.

Rules:
1. *Exact* means no difference. A repeat is none, if it is the same to the byte; it is counted.
2. The reference run is compared with the log alone; every other run with the log and the reference.
3. Every row of the log is in a judged window, late, or in a window that the log leaves open; every
   malformed event is a dead letter, and nothing else is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from benchmarks.exactness.chaos.evidence import Bytes, Copies, Evidence
from benchmarks.exactness.chaos.expected import ExpectedResults
from benchmarks.exactness.chaos.log import BEGIN, Drift
from benchmarks.exactness.chaos.monitors import WINDOW_SECONDS
from detectors.windows.record import Kind

#: Examples named in one difference.
_NAMED = 5
#: Windows after its end by which an incident has to name a change.
_GRACE_WINDOWS = 6
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a run is not what it has to be: `7 outcomes missing: (0, 12), (0, 15), ...`."""

    what: str
    how: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in words."""
        more = ", ..." if self.examples and self.count > len(self.examples) else ""
        return f"{self.count} {self.what} {self.how}{': ' if self.examples else ''}{', '.join(self.examples)}{more}"


def against_log(found: Evidence, wanted: ExpectedResults) -> list[Difference]:
    """Hold a run against what the log alone demands."""
    windows = {key: n for key, (n, _) in found.windows.items()}
    dead = {f"events/{partition}/{offset}": content for (partition, offset), content in wanted.dead.items()}
    letters: dict[str, Bytes] = {place: (reason.encode(), key, value) for place, (reason, key, value) in dead.items()}
    differences = [
        *_compared("windows", wanted.windows, windows),
        # One that nobody wants holds rows that were late: read again from further on they may not be, and the mark is there.
        *_listed("windows", "came after their own mark and were never judged", found.unjudged & wanted.windows.keys()),
        *_sets("outcomes", wanted.outcomes, found.outcomes.found.keys()),
        *_sets("dead letters", letters.keys(), found.dead.found.keys()),
        *_listed("dead letters", "are not the event with its reason", _other_bytes(letters, found.dead)),
    ]
    for what, copies in (("alerts", found.alerts), ("retrain requests", found.retrains), ("outcomes", found.outcomes)):
        differences += _listed(what, "were repeated with other bytes", [one for one, of in copies.found.items() if len(of) > 1])
    counted: tuple[tuple[Kind, int], ...] = (("features", wanted.rows), ("outcomes", len(wanted.outcomes)))
    for kind, rows in counted:
        seen = sum(n for key, n in windows.items() if key[2] == kind) + wanted.late[kind] + wanted.open[kind]
        if seen != rows:
            differences.append(Difference(f"rows of {kind}", f"of {rows} accounted for", seen, ()))
    return differences


def against_reference(found: Evidence, reference: Evidence) -> list[Difference]:
    """Hold a run against the calm one, to the byte."""
    return [
        *_copies("alerts", reference.alerts, found.alerts),
        *_copies("retrain requests", reference.retrains, found.retrains),
        *_copies("outcomes", reference.outcomes, found.outcomes),
        *_compared("window bytes", reference.windows, found.windows),
    ]


def missed_drifts(found: Evidence, drifts: Iterable[Drift]) -> list[Difference]:
    """Check that an incident names every known change: open while it lasts, or opened soon after."""
    incidents: dict[str, list[dict[str, Any]]] = {}
    for copies in found.alerts.found.values():
        for _, value in copies:
            alert = orjson.loads(value or b"")["data"]
            incidents.setdefault(alert["incident"], []).append(alert)
    missed = [drift for drift in drifts if not any(_names(alerts, drift) for alerts in incidents.values())]
    return _listed("known drifts", "in no incident", missed)


def _names(alerts: Sequence[Mapping[str, Any]], drift: Drift) -> bool:
    first, last = (BEGIN + number * WINDOW_SECONDS for number in (drift.first, drift.last + _GRACE_WINDOWS))
    return (
        (alerts[0]["model"], alerts[0]["segment"]) == (drift.model, drift.segment)
        and any(verdict["feature"] == drift.feature for alert in alerts for verdict in alert["features"])
        and min(alert["raised_at"] for alert in alerts) <= last
        and all(alert["raised_at"] > first for alert in alerts if alert["status"] == "resolved")
    )


def _other_bytes(wanted: Mapping[str, Bytes], found: Copies[str]) -> list[str]:
    return [one for one, of in found.found.items() if one in wanted and set(of) != {wanted[one]}]


def _copies(what: str, wanted: Copies[K], found: Copies[K]) -> Iterator[Difference]:
    yield from _sets(what, wanted.found.keys(), found.found.keys())
    both = wanted.found.keys() & found.found.keys()
    yield from _listed(what, "with other bytes", [one for one in both if set(wanted.found[one]) != set(found.found[one])])


def _compared(what: str, wanted: Mapping[K, object], found: Mapping[K, object]) -> Iterator[Difference]:
    yield from _sets(what, wanted.keys(), found.keys())
    other = [one for one in wanted.keys() & found.keys() if wanted[one] != found[one]]
    yield from _listed(what, "differ", other)


def _sets(what: str, wanted: Collection[K], found: Collection[K]) -> Iterator[Difference]:
    yield from _listed(what, "missing", set(wanted) - set(found))
    yield from _listed(what, "too many", set(found) - set(wanted))


def _listed(what: str, how: str, names: Collection[object]) -> list[Difference]:
    if not names:
        return []
    return [Difference(what, how, len(names), tuple(sorted(map(str, names))[:_NAMED]))]


def repeats(found: Evidence) -> Counter[str]:
    """Return how many records stand there more than once, by topic."""
    return Counter(
        alerts=found.alerts.repeats,
        retrains=found.retrains.repeats,
        outcomes=found.outcomes.repeats,
        windows=found.window_repeats,
        dead=found.dead.repeats,
    )
