"""The demo, from its first process to its last word."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live

from detectors.errors import UnavailableError
from driftline.demo.example import module
from driftline.demo.options import DemoOptions
from driftline.demo.report import print_report, result, windows_judged
from driftline.demo.stack import Stack
from driftline.demo.story import Story, wait_until
from driftline.demo.view import View

#: The demo is stopped after so long, whatever it waits for.
_LONGEST_SECONDS = 600.0
#: How long the last retrain may still take once all rows were sent.
_LAST_RETRAIN_SECONDS = 10.0


def run(options: DemoOptions) -> int:
    """Run the demo and return the exit status: 0 only if the loop closed by itself.

    Raises:
        DriftlineError: something could not be started.
    """
    console = Console(stderr=options.json)
    began = time.monotonic()
    console.print("Starting broker, Redis, worker, retrainer and service ...", style="dim")
    with Stack(options) as stack:
        story = Story(stack.settings)
        story.follow()
        application = stack.start_application()
        total = options.rows or sum(1 for _ in module("rows").read_rows())
        view = View(story, total)

        def look() -> bool:
            return not application.running

        def judged() -> int:
            with contextlib.suppress(OSError):
                return windows_judged(stack.metrics_url)
            return 0

        _show(console, view, stack.sent, judged, look)
        sent = stack.sent()
        if application.running or "sent" not in sent or not stack.answers.exists():
            raise UnavailableError(f"the example application did not finish; the end of its log:\n{application.tail()}")
        answered = threading.Event()
        wait_until(lambda: len(story.decisions) >= len(story.retrains), seconds=_LAST_RETRAIN_SECONDS, wait=answered.wait)
        summary = result(
            story=story,
            sent=sent,
            answers=stack.answers,
            url=stack.url,
            metrics_url=stack.metrics_url,
            seconds=time.monotonic() - began,
        )
        print_report(console, story, summary)
        if options.json:
            sys.stdout.write(json.dumps(summary) + "\n")
            sys.stdout.flush()
        if options.keep:
            _keep(console, stack)
    return 0 if summary["closed"] else 1


def _show(
    console: Console, view: View, sent: Callable[[], dict[str, Any]], judged: Callable[[], int], done: Callable[[], bool]
) -> None:
    """Draw until `done`; without a terminal, only wait."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    tick = threading.Event()
    live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
    with live or contextlib.nullcontext():
        while not done() and time.monotonic() < deadline:
            if live is not None:
                live.update(view.draw(sent(), judged()))
            tick.wait(0.25)


def _keep(console: Console, stack: Stack) -> None:
    """Leave everything running until Ctrl-C."""
    console.print("\nEverything goes on running until Ctrl-C:")
    for name, address in stack.addresses().items():
        console.print(f"  {name:15} {address}", highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
