"""Does the false-alarm budget hold, and how soon are changes found: weeks simulated event by event, judged by the product.

    python -m benchmarks.budget [--quick] [--seed N] [--kinds NAME ...] [--parts NAME ...]
                                [--features N] [--weeks N] [--reference DAYS]

| part | what |
|---|---|
| alarms | incidents on ten kinds of streams in which nothing changes: 1,000 features for four weeks behind the reference |
| delays | changes in one feature after the other, of 1,000: how soon each raises an alarm, beside alarms that ignore the data |
| notifications | one incident that touches 30 of 200 features: it has to be one notification |
| speed | windows of single features judged in a second of CPU time |

Defaults everywhere (windows of 60 s, three days of reference, one false alarm a week), one event a second. The whole takes up to
two hours on two cores; --quick is 200 features and one week. The last line is one JSON object.

`--kinds "working days" --parts alarms` has weekends, which the default reference does not know and `--reference 14` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.machine import run, whole_number
from benchmarks.progress import Say, progress
from benchmarks.quality.budget import report
from benchmarks.quality.budget.delays import delays
from benchmarks.quality.budget.false_alarms import all_quiet
from benchmarks.quality.budget.kinds import ALL_KINDS, KINDS
from benchmarks.quality.budget.notifications import SORTS, notifications
from benchmarks.quality.budget.speed import speed
from benchmarks.quality.budget.trial import Size
from detectors.reference.local_time import DAY_SECONDS
from detectors.spec import ReferenceSpec

PARTS = ("alarms", "delays", "notifications", "speed")
#: Kinds on which changes are made.
CHANGED = ("gaussian", "daily", "AR 0.9", "log-normal")
_FEATURES, _WEEKS, _ROUNDS = 1000, 4.0, 5
_QUICK_FEATURES, _QUICK_WEEKS, _QUICK_ROUNDS = 200, 1.0, 2
_NOTIFICATION_FEATURES = 200


def measure(arguments: argparse.Namespace, size: Size, say: Say) -> report.Results:
    """Measure what was asked for, and print each figure as soon as it is there."""
    seed: int = arguments.seed
    results = report.Results(size, seed)

    def tick(what: str) -> Callable[[float], None]:
        return lambda share: say(f"{what} {100 * share:.0f} %")

    # Alone on the machine, before two processes share it.
    if "speed" in arguments.parts:
        results.speed = speed(Size(_FEATURES, size.weeks, size.reference_seconds), seed, tick("speed"))
        report.print_speed(results.speed)
    if "notifications" in arguments.parts:
        print()
        of_round = Size(_NOTIFICATION_FEATURES, size.weeks, size.reference_seconds)
        for number in range(arguments.rounds or (_QUICK_ROUNDS if arguments.quick else _ROUNDS)):
            for sort in SORTS:
                shown = tick(f"notifications, seed {seed + number}, {sort}")
                results.notifications.append(notifications(sort, of_round, seed + number, shown))
                report.print_notifications(results.notifications[-1], _NOTIFICATION_FEATURES)
    if "delays" in arguments.parts:
        for kind in [kind for kind in CHANGED if kind in arguments.kinds]:
            results.delays.append(delays(kind, size, seed, tick(f"delays on {kind}")))
            report.print_delays(results.delays[-1])
    if "alarms" in arguments.parts:
        print()
        results.quiet = all_quiet(arguments.kinds, size, seed, say=say, ready=lambda one: report.print_quiet(one, size))
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.budget",
        description="Does the false-alarm budget hold, and how soon are changes found.",
    )
    quick = f"{_QUICK_FEATURES} features, {_QUICK_WEEKS:g} week"
    parser.add_argument("--quick", action="store_true", help=f"{quick}: under 5 minutes at 100,000 feature-windows a second")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--kinds", nargs="+", choices=ALL_KINDS, default=list(KINDS), metavar="NAME", help=", ".join(ALL_KINDS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--features", type=whole_number(1), help=f"of a model ({_FEATURES}, quick {_QUICK_FEATURES})")
    parser.add_argument("--weeks", type=float, help=f"counted on each kind of stream ({_WEEKS:g}, quick {_QUICK_WEEKS:g})")
    parser.add_argument("--rounds", type=whole_number(1), help=f"of notifications ({_ROUNDS}, quick {_QUICK_ROUNDS})")
    parser.add_argument("--reference", type=whole_number(1), metavar="DAYS", help="length of the reference (the default, 3)")
    arguments = parser.parse_args()
    if arguments.weeks is not None and not 0 < arguments.weeks < float("inf"):
        parser.error(f"argument --weeks: expected more than 0, got {arguments.weeks:g}")
    arguments.kinds = list(dict.fromkeys(arguments.kinds))
    return arguments


def main() -> None:
    """Print the tables and the JSON object."""
    arguments = _arguments()

    def benchmark() -> tuple[dict[str, Any], int]:
        features = arguments.features or (_QUICK_FEATURES if arguments.quick else _FEATURES)
        weeks = arguments.weeks or (_QUICK_WEEKS if arguments.quick else _WEEKS)
        with progress() as say:
            reference = arguments.reference * DAY_SECONDS if arguments.reference else ReferenceSpec().seconds
            results = measure(arguments, Size(features, weeks, reference), say)
        return report.as_json(results), 0

    run(benchmark)


if __name__ == "__main__":
    main()
