"""One replay from its options to its report: opens the file and the file of windows, and prints the findings.

Rules:
1. stdout gets the events that the topics would carry, one a line, and nothing else.
2. After any error, and after Ctrl-C, no partial file of windows is left.
"""

from __future__ import annotations

from contextlib import ExitStack

import click

from detectors.incidents.alert import Alert
from driftline.readers.options import Options
from driftline.readers.windows_file import writing
from driftline.replay.reading import read
from driftline.replay.replaying import Replaying
from driftline.replay.report import report
from driftline.text.progress import ProgressLine
from streams.records.cloudevents import event_of
from streams.settings import Settings

__all__ = ["replay"]


def replay(settings: Settings, options: Options) -> None:
    """Print the findings of the judge, and a report.

    Raises:
        ConfigError: the file cannot be read or used.
        UnavailableError: Kafka is needed and away.
    """
    models = {model.name: model for model in settings.models}
    progress = ProgressLine()
    with ExitStack() as closing:
        keep = closing.enter_context(writing(options.write_windows)) if options.write_windows else None
        replaying = Replaying(models, keep=keep)
        closing.callback(progress.erase)
        for finding in read(settings, options, replaying, progress):
            if options.requests or isinstance(finding, Alert):
                progress.erase()
                click.echo(event_of(finding))
    report(replaying, models, options)
