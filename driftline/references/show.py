"""A file or a version of references -> what it contains -> rows of tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from detectors.errors import ConfigError, DriftlineError, StateError, UnavailableError
from driftline.config.reference_files import load_reference_set
from driftline.references.contents import (
    Contents,
    FeatureContents,
    MonitorContents,
    SegmentContents,
    of_published,
    of_reference_set,
)
from driftline.references.stored import read_monitor
from driftline.text.durations import format_duration
from driftline.text.nearest import nearest
from driftline.text.wording import listed, span
from streams.state.references import References
from streams.state.store import Store

_VERSION = re.compile(r"[0-9a-f]{16}")
#: Categories of one feature that a table names.
_MOST_SHARES = 4
#: Quantiles that a table shows, in percent.
_SHOWN = ("1", "25", "50", "75", "99")

SEGMENT_HEADINGS = ("windows of", "segment", "windows", "from", "to", "features", "monitors")
FEATURE_HEADINGS = (
    *("windows of", "segment", "feature", "values", "mean", "spread"),
    f"quantiles ({' / '.join(_SHOWN)} %) or shares",
    *("missing", "season", "correlation", "windows judged together", "monitors"),
)


def is_version(name: str) -> bool:
    """Whether a name has the form of a version, and no file in the working directory has that name."""
    return _VERSION.fullmatch(name) is not None and not Path(name).exists()


def in_file(path: Path, model: str | None) -> Contents:
    """Return what a file of references contains.

    Raises:
        ConfigError: it cannot be read, or is of another model.
        StateError: it is no file of references, or was changed.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no file {path}; name one, or a version as `driftline reference list` prints it: 16 of 0-9, a-f"
        )
    reference_set = load_reference_set(path)
    if model is not None and reference_set.model != model:
        raise ConfigError(
            f"{path}: references of model {reference_set.model}, not of {model}; "
            f"say --model {reference_set.model}, or name another file"
        )
    return of_reference_set(reference_set, str(path))


def in_store(store: Store, models: Sequence[str], version: str, model: str | None) -> Contents:
    """Return what a version contains: of a reference set from a file, or of the references that a judge published for a segment.

    Args:
        store: the Redis that has them.
        models: names of the configured models.
        version: the version to show, 16 hexadecimal digits.
        model: the model that it must belong to; None for any.

    Raises:
        DriftlineError: no model has that version, or another model has it.
        StateError: it was altered, or written by another Driftline.
        UnavailableError: Redis is away.
    """
    known: list[str] = []
    for name in models:
        found = _of_model(store, name, version)
        if isinstance(found, Contents):
            if model is not None and name != model:
                raise DriftlineError(f"version {version} is one of model {name}, not of {model}; say --model {name}")
            return found
        known += found if model in (None, name) else []
    whose = f"model {model}" if model is not None else f"{listed(models)}"
    hint = nearest(version, known) or (f"there are {listed(known)}" if known else "there are none yet")
    raise DriftlineError(f"no references of version {version} of {whose} under {store.prefix}:* in Redis; {hint}")


def _of_model(store: Store, model: str, version: str) -> Contents | list[str]:
    """Return what a version of a model contains, or all versions of the model if it is none of them."""
    references = References(store)
    reference_set = references.reference_set(model, version)
    if reference_set is not None:
        return of_reference_set(reference_set, f"Redis, taken over from a file by a judge of {model}")
    versions = references.versions(model)
    for segment in _segments(store, model):
        for name, published, now in references.published(model, segment):
            if name == version:
                return of_published(name, published, f"Redis, learned by the judge{', in force' if now else ''}")
            versions.append(name)
    return versions


def _segments(store: Store, model: str) -> list[str]:
    try:
        return sorted(read_monitor(store, model).channels["features"].judges)
    except (StateError, UnavailableError):
        raise
    except DriftlineError:  # nothing was judged yet
        return []


def head(contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of what holds for the whole version."""
    yield "version", contents.version
    yield "model", contents.model
    yield "read from", contents.place
    if contents.learned_by is not None:
        yield "made by", f"Driftline {contents.learned_by['driftline']}, River {contents.learned_by['river']}"
    if contents.since is not None:
        widths = ", ".join(f"{kind} of {format_duration(seconds)}" for kind, seconds in contents.window_seconds.items())
        yield "learned from", f"windows of {widths}"
        yield "from", contents.since
        yield "to", str(contents.until)
    else:
        yield "held from", contents.held_from or "when the judge began"
    if contents.timezone is not None:
        yield "time zone", contents.timezone + (f", public holidays of {contents.holidays}" if contents.holidays else "")
    if contents.features is not None:
        yield "features", listed(contents.features) or "all that appeared"
    if contents.categorical:
        yield "categorical", listed(contents.categorical)
    yield "segments", f"{len(contents.segments):,}"
    judged = f"in force: `driftline explain thresholds --model {contents.model}`"
    yield "monitors", judged if contents.monitors is None else _known(contents.monitors)


def segment_row(found: SegmentContents) -> list[str]:
    """Return a row of the table of segments."""
    return [
        found.windows_of,
        found.segment or "-",
        _known(found.windows),
        found.since or "-",
        found.until or "-",
        f"{len(found.features):,}",
        _known(found.monitors),
    ]


def feature_row(segment: SegmentContents, found: FeatureContents) -> list[str]:
    """Return a row of the table of features."""
    monitors = found.monitors
    return [
        segment.windows_of,
        segment.segment or "-",
        found.feature,
        found.kind,
        _number(found.mean),
        _number(found.spread),
        "; ".join(filter(None, (_quantiles(found), _shares(found)))) or "-",
        "-" if found.missing is None else _percent(found.missing),
        _seasons(monitors) if monitors else "-",
        span(*_ends([one.correlation for one in monitors]), ".2f") if monitors else "-",
        _known(found.merged),
        "-" if monitors is None else f"{len(monitors)}",
    ]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _seasons(monitors: Sequence[MonitorContents]) -> str:
    return ", ".join(dict.fromkeys(one.season for one in monitors))


def _quantiles(found: FeatureContents) -> str:
    return " / ".join(_number(found.quantiles[percent]) for percent in _SHOWN) if found.quantiles else ""


def _shares(found: FeatureContents) -> str:
    shown = [f"{name} {_percent(share)}" for name, share in list(found.shares.items())[:_MOST_SHARES]]
    rest = sum(list(found.shares.values())[_MOST_SHARES:]) + found.other
    return ", ".join([*shown, *([f"others {_percent(rest)}"] if rest > 0 else [])])


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _known(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
