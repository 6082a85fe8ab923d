"""Incidents: verdicts that begin together are one incident, with one notification when it opens.

Rules:
1. A verdict joins the open incident with the same change. It does if it began at most `JOIN_WINDOWS` windows before the
   incident began, and at most as many after the incident was raised. It also does if it was raised at most as many windows
   after the incident was, whatever its date, because chance may date it too early. Otherwise it opens an incident.
2. The monitors of an incident stay silent while it is open: a known change raises no second alarm
   (detectors/judging/monitors.py).
3. An incident ends once: when all of its features are back at their baseline for a while, or have a new reference (a swap). A
   closed incident never opens again; a relapse is a new incident.
4. Every window tests for a recovery, so a change that ends is reported. A change that lasts seldom flaps: its monitor is armed
   again only after much evidence (detectors/judging/recovery.py).
5. A segment has at most `_MOST_OPEN` open incidents; further verdicts join the newest.
"""

from __future__ import annotations

import msgspec

from detectors.identity import identity
from detectors.incidents.alert import Alert, Level, Severity, Status
from detectors.judging.verdict import JOIN_WINDOWS, Verdict
from detectors.windows.row import ERROR

_MOST_OPEN = 16
#: Drift is critical from this share of the segment's features on, or from this share of features with a large change.
_CRITICAL_SHARE, _CRITICAL_LARGE_SHARE = 0.3, 0.1


class Incident(msgspec.Struct):
    """An open incident; `drifted` is feature -> its first verdict. Times are epoch seconds of event time."""

    id: str
    segment: str
    began_at: float
    raised_at: float
    drifted: dict[str, Verdict]
    severity: Severity
    sequence: int = 0

    @property
    def level(self) -> Level:
        """`performance` if the outcomes themselves got worse."""
        return "performance" if ERROR in self.drifted else "drift"


class Incidents(msgspec.Struct):
    """The open incidents of one model."""

    model: str
    open: list[Incident] = []

    def open_or_update(
        self, segment: str, verdicts: list[Verdict], *, window_seconds: float, watched: int, at: float
    ) -> list[Alert]:
        """Take the verdicts of one window and return the alerts that follow.

        Args:
            segment: of the window.
            verdicts: all alarms that this window raised.
            window_seconds: width of the window.
            watched: how many features the segment has.
            at: end of the window, epoch seconds.
        """
        touched: dict[str, tuple[Incident, Status]] = {}
        for verdict in sorted(verdicts, key=lambda item: (-abs(item.score), item.feature, item.statistic)):
            incident = self._home(segment, verdict, window_seconds)
            if incident is None:
                incident = Incident(
                    id=identity("incident", self.model, segment, verdict.at, verdict.feature, verdict.statistic),
                    segment=segment,
                    began_at=verdict.began_at,
                    raised_at=verdict.at,
                    drifted={verdict.feature: verdict},
                    severity="warning",
                )
                self.open.append(incident)
                touched[incident.id] = (incident, "opened")
            elif verdict.feature not in incident.drifted:
                incident.drifted[verdict.feature] = verdict
                if verdict.began_at >= incident.began_at - JOIN_WINDOWS * window_seconds:
                    incident.began_at = min(incident.began_at, verdict.began_at)
                touched.setdefault(incident.id, (incident, "updated"))
        return [self._alert(incident, status, at, watched) for incident, status in touched.values()]

    def _home(self, segment: str, verdict: Verdict, window_seconds: float) -> Incident | None:
        of_segment = [incident for incident in self.open if incident.segment == segment]
        for incident in of_segment:
            if verdict.feature in incident.drifted:
                return incident
        for incident in reversed(of_segment):
            apart = JOIN_WINDOWS * window_seconds
            near = incident.began_at - apart <= verdict.began_at < incident.raised_at + apart
            if near or verdict.at <= incident.raised_at + apart:
                return incident
        return of_segment[-1] if len(of_segment) >= _MOST_OPEN else None

    def _alert(self, incident: Incident, status: Status, at: float, watched: int) -> Alert:
        share = len(incident.drifted) / max(1, watched)
        large = sum(1 for verdict in incident.drifted.values() if verdict.size >= 1) / max(1, watched)
        wide = share >= _CRITICAL_SHARE or large >= _CRITICAL_LARGE_SHARE
        if incident.level == "performance" or (len(incident.drifted) > 1 and wide):
            incident.severity = "critical"
        if status != "opened":
            incident.sequence += 1
        ranked = sorted(incident.drifted.values(), key=lambda item: (-abs(item.score), item.feature))
        where = f" in segment {incident.segment}" if incident.segment else ""
        names = ", ".join(verdict.feature for verdict in ranked[:3]) + (f" and {len(ranked) - 3} more" if len(ranked) > 3 else "")
        return Alert(
            id=identity("alert", incident.id, incident.sequence, status),
            incident=incident.id,
            sequence=incident.sequence,
            status=status,
            level=incident.level,
            severity=incident.severity,
            model=self.model,
            segment=incident.segment,
            began_at=incident.began_at,
            raised_at=at,
            features=ranked,
            summary=f"{self.model}{where}: {names} changed; {ranked[0].feature}: {ranked[0].words}",
        )

    def feature_back(self, segment: str, feature: str, *, at: float, why: str) -> list[Alert]:
        """Take a feature out of its incident, and end the incident when that was its last feature."""
        for incident in self.open:
            if incident.segment == segment and feature in incident.drifted:
                if len(incident.drifted) > 1:
                    del incident.drifted[feature]
                    return []
                return [self._resolve(incident, at, why)]
        return []

    def _resolve(self, incident: Incident, at: float, why: str) -> Alert:
        self.open.remove(incident)
        alert = self._alert(incident, "resolved", at, watched=0)
        where = f" in segment {incident.segment}" if incident.segment else ""
        return msgspec.structs.replace(alert, summary=f"{self.model}{where}: {why}")

    def find(self, incident_id: str) -> Incident | None:
        """Return the open incident of that id, or None."""
        return next((incident for incident in self.open if incident.id == incident_id), None)
