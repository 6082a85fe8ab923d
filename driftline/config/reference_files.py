"""The file that `[models.NAME.reference] file` names: read, and compared with what the configuration says of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from detectors.errors import ConfigError, StateError
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec
from detectors.windows.record import OTHER_SEGMENT
from driftline.config.faults import Faults, Place
from driftline.text.durations import format_duration
from streams.state import reference_file

#: Names shown in one message at most.
_MOST_NAMED = 5


def read_reference_set(faults: Faults, place: Place, path: Path, spec: ModelSpec) -> ReferenceSet | None:
    """Return the references in a file; None after adding a fault, if they cannot be used for this model."""
    try:
        reference_set = load_reference_set(path)
    except (ConfigError, StateError) as error:
        faults.add(place, str(error))
        return None
    found = list(misfits(spec, reference_set))
    for sentence in found:
        faults.add(place, f"{path} does not fit: {sentence}", reference_file.AGAIN)
    return None if found else reference_set


def load_reference_set(path: Path) -> ReferenceSet:
    """Return the references in a file.

    Raises:
        ConfigError: the file cannot be read, or is far too large.
        StateError: it is no file of references, was changed, or has another format.
    """
    try:
        with path.open("rb") as source:
            content = source.read(reference_file.MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}; make it with `driftline reference build`, or mend the path") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); let the user that runs Driftline read it") from None
    if len(content) > reference_file.MOST_BYTES:
        raise ConfigError(f"{path} is larger than {reference_file.MOST_BYTES >> 20} MiB; those are no references: mend the path")
    return reference_file.load(str(path), content)


def misfits(spec: ModelSpec, reference_set: ReferenceSet) -> Iterator[str]:
    """Yield a sentence for each setting that has changed since the references were learned."""
    head = reference_set.head
    if head.model != spec.name:
        yield f"it was learned for model {head.model}"
    widths = (
        ("features", "window", head.window_seconds, spec.window_seconds),
        ("outcomes", "outcomes.window", head.outcome_window_seconds, spec.outcome_window_seconds),
    )
    for kind, key, learned, wanted in widths:
        if learned != wanted and any(of == kind and segments for of, segments in reference_set.segments.items()):
            yield (
                f"it was learned from windows of {kind} of {format_duration(learned)}, and {key} is {format_duration(wanted)} now"
            )
    if head.timezone != spec.timezone:
        yield f"its seasons are those of {head.timezone}, and timezone is {spec.timezone} now"
    if head.holidays != spec.holidays:
        yield f'it was learned with holidays = "{head.holidays}", now it is "{spec.holidays}"'
    for key, had, has in (
        ("features", head.features, spec.features),
        ("categorical", head.categorical, spec.categorical),
    ):
        if set(had) != set(has):
            yield f"it was learned with {key} = {_listed(had)}, now it is {_listed(has)} ({_difference(had, has)})"
    named = {segment for segments in reference_set.segments.values() for segment in segments} - {"", OTHER_SEGMENT}
    if len(named) > spec.max_segments:
        yield f"it has {len(named):,} segments, and max_segments is {spec.max_segments:,}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    quoted = [f'"{name}"' for name in names[:_MOST_NAMED]] + ([f"{more:,} more"] if more > 0 else [])
    return f"[{', '.join(quoted)}]"


def _difference(had: Sequence[str], has: Sequence[str]) -> str:
    gone, new = sorted(set(had) - set(has)), sorted(set(has) - set(had))
    parts = [f"without {_listed(gone)}"] if gone else []
    return " and ".join([*parts, *([f"with {_listed(new)}"] if new else [])])
