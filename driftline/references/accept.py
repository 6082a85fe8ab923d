"""Open incidents that a person calls all right -> the acceptance, a record of the windows topic that the judge reads."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.errors import DriftlineError
from detectors.identity import identity
from detectors.incidents.decision import Acceptance, Change
from detectors.incidents.incident import Incident
from detectors.model.model_monitor import ModelMonitor
from detectors.windows.record import Kind
from driftline.text.nearest import nearest
from streams.records.times import rfc3339

__all__ = ["accept"]

_Open = list[tuple[Kind, Incident]]


def accept(monitor: ModelMonitor, *, incident: str | None, features: Sequence[str]) -> Acceptance:
    """Return the acceptance of the incident of that id, of these features in all open incidents, or of the only open incident.

    Raises:
        DriftlineError: no such incident or feature is open, or several incidents are open and none is named.
    """
    meant: _Open = [(kind, one) for kind, channel in monitor.channels.items() for one in channel.incidents.open]
    if not meant:
        raise DriftlineError(f"no incident of model {monitor.model} is open{_reached(monitor)}: there is nothing to accept")
    if incident is not None:
        meant = _of_id(monitor, meant, incident)
    elif not features and len(meant) > 1:
        raise DriftlineError(
            f"{len(meant)} incidents of model {monitor.model} are open: name one with --incident, or features with --feature; "
            f"{_listed(meant)}"
        )
    drifted = {feature for _, one in meant for feature in one.drifted}
    for feature in features:
        if feature not in drifted:
            raise DriftlineError(_not_open(monitor, meant, feature, incident))
    wanted = set(features) or drifted
    found = [(kind, one) for kind, one in meant if wanted & one.drifted.keys()]
    changes = sorted(
        {(kind, one.segment, feature) for kind, one in found for feature in one.drifted if feature in wanted},
    )
    ids = sorted(one.id for _, one in found)
    seen: dict[Kind, float] = {}
    for kind, one in found:
        seen[kind] = max(seen.get(kind, one.raised_at), one.raised_at, monitor.channels[kind].aligner.complete())
    return Acceptance(
        id=identity("acceptance", monitor.model, *ids, *("/".join(change) for change in changes)),
        model=monitor.model,
        incidents=ids,
        changes=[Change(*change) for change in changes],
        seen=seen,
    )


def _of_id(monitor: ModelMonitor, meant: _Open, incident: str) -> _Open:
    found = [(kind, one) for kind, one in meant if one.id == incident]
    if not found:
        raise DriftlineError(
            f"no incident {incident} of model {monitor.model} is open{_reached(monitor)}: it has ended, or is another model's; "
            f"{_listed(meant)}"
        )
    return found


def _not_open(monitor: ModelMonitor, meant: _Open, feature: str, incident: str | None) -> str:
    known = {name for channel in monitor.channels.values() for judge in channel.judges.values() for name in judge.references}
    if feature not in known:
        return f"model {monitor.model} has no feature {feature}; {nearest(feature, known) or _listed(meant)}"
    where = f"is not in {incident}" if incident is not None else f"is in no open incident{_reached(monitor)}"
    return f"feature {feature} of model {monitor.model} {where}; {_listed(meant)}"


def _listed(meant: _Open) -> str:
    names = (f"{one.id}{_of(one.segment)} ({', '.join(sorted(one.drifted))})" for _, one in meant)
    return f"open: {', '.join(names)}"


def _reached(monitor: ModelMonitor) -> str:
    reached = monitor.channels["features"].aligner.complete()
    return f" (judged up to {rfc3339(reached)})" if reached > 0 else ""


def _of(segment: str) -> str:
    return f" of segment {segment}" if segment else ""
