"""The file or topic that a user named -> stretches of rows or records of windows -> the replay, in order.

Rules:
1. An unusable row stops nothing; a file without a usable row is an error.
2. A windows topic is read up to its end now, partition by partition; all windows of a model are in one partition.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from detectors.errors import ConfigError, DriftlineError
from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from driftline.readers.csv_rows import read_csv
from driftline.readers.json_lines import read_events, read_json_rows
from driftline.readers.opened import Opened, opened
from driftline.readers.options import Options
from driftline.readers.parquet import read_parquet
from driftline.readers.roles import Roles
from driftline.readers.stretch import Stretch
from driftline.readers.windows_file import read_windows
from driftline.replay.replaying import Replaying
from driftline.replay.report import fault_lines
from driftline.text.progress import ProgressLine
from streams.kafka import Log
from streams.settings import KafkaSettings, Settings
from streams.topics import WINDOWS, topic_name

_CLIENT = "driftline-replay"
_KAFKA_SECONDS = 5.0
#: New objects before the collector looks at the youngest generation, and how many such runs before it looks at each older one.
_COLLECT_AFTER = (200_000, 20, 100)

Findings = Iterator[Alert | Request]


def read(settings: Settings, options: Options, replaying: Replaying, progress: ProgressLine) -> Findings:
    """Feed all that the options name to the replay, and yield the findings.

    Raises:
        ConfigError: the file cannot be read or used.
        UnavailableError: Kafka is needed and away.
    """
    with _collector_resting():
        if options.file is None:
            yield from _of_topic(settings.kafka, replaying, progress, options.model)
            _require_use(topic_name(settings.kafka.prefix, WINDOWS), options, replaying)
            return
        with opened(options.file) as file:
            yield from _of_file(settings, file, replaying, progress, options)
            _require_use(file.name, options, replaying)


@contextmanager
def _collector_resting() -> Iterator[None]:
    """Run the garbage collector less often: there are many rows, and none of them is in a cycle."""
    usual = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)


def _of_file(settings: Settings, file: Opened, replaying: Replaying, progress: ProgressLine, options: Options) -> Findings:
    if options.form is None:
        for value in read_windows(file):
            yield from replaying.record(value, only=options.model)
            progress.draw(file.share(), replaying.rows)
        return
    for stretch in _stretches(settings, file, options):
        yield from replaying.add(stretch)
        progress.draw(None if options.form == "parquet" else file.share(), replaying.rows)
    yield from replaying.end()


def _stretches(settings: Settings, file: Opened, options: Options) -> Iterator[Stretch]:
    if options.form == "jsonl" and options.time is None:
        return read_events(file, {model.name: model for model in settings.models}, only=options.model)
    model = settings.model(options.model or "")
    assert model is not None  # the command has looked
    roles = Roles(model, options.time, options.label, options.prediction, options.segment, options.ignore)
    if options.form == "csv":
        return read_csv(file, roles, delimiter=options.delimiter)
    return read_json_rows(file, roles) if options.form == "jsonl" else read_parquet(file, roles)


def _of_topic(kafka: KafkaSettings, replaying: Replaying, progress: ProgressLine, only: str | None) -> Findings:
    """Judge the windows topic up to its end now, partition by partition."""
    topic = topic_name(kafka.prefix, WINDOWS)
    log = Log(kafka, _CLIENT)
    try:
        ends = log.ends(topic, _KAFKA_SECONDS)
        total = sum(end - first for first, end in ends.values())
        done = 0
        for partition, (first, end) in sorted(ends.items()):
            for record in log.read(topic, {partition: first}) if end > first else ():
                if record.offset >= end:
                    break
                yield from replaying.record(record.value or b"", only=only)
                progress.draw((done + record.offset - first) / total, replaying.rows)
            done += end - first
    finally:
        log.close()


def _require_use(name: str, options: Options, replaying: Replaying) -> None:
    """Return if any row or record was usable.

    Raises:
        ConfigError: the file is empty, or nothing in it was usable.
    """
    faults = sum(replaying.faults.values())
    if replaying.rows > faults:
        return
    if options.file is None and not faults:
        raise DriftlineError(f"{name} is empty: there are windows once a worker has read events")
    if not faults:
        raise ConfigError(f"{name}: there is nothing in it to replay")
    first = [f"{name}: {line}" for line in fault_lines(replaying, options)]
    raise ConfigError("\n".join([f"{name}: none of its {faults:,} {'rows' if options.form else 'records'} can be used", *first]))
