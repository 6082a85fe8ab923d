"""References -> a file, and the sentences about it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from detectors.errors import ConfigError
from driftline.references.build import Built
from driftline.text.tables import show_table
from streams.records.times import rfc3339
from streams.state import reference_file

__all__ = ["write"]

_HEADINGS = ["windows of", "segment", "windows", "from", "to", "features"]


def write(built: Built, path: Path) -> None:
    """Write the file, whole or not at all, and say what is in it.

    Raises:
        ConfigError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(reference_file.dump(built.reference_set))
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another place with --output") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    rows = [
        [kind, segment or "-", f"{found.windows:,}", rfc3339(found.since), rfc3339(found.until), f"{len(found.learned):,}"]
        for kind, segments in built.reference_set.segments.items()
        for segment, found in segments.items()
    ]
    show_table(_HEADINGS, rows)
    for note in built.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"version {built.reference_set.version} of the references of {built.reference_set.model} is in {path}")
