"""An alert: the message that an incident opened, grew or ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.judging.verdict import Verdict

Status = Literal["opened", "updated", "resolved"]
Level = Literal["drift", "performance"]
Severity = Literal["warning", "critical"]


class Alert(msgspec.Struct, frozen=True):
    """One event about one incident; times are epoch seconds of event time.

    Args:
        id: a hash of its causes: the same in every run over the same log.
        incident: id of the incident, shared by all of its alerts.
        sequence: 0 for `opened`, then 1, 2, ...
        began_at: estimated begin of the change: that of the earliest verdict.
        raised_at: end of the window that raised this alert.
        features: the verdicts, strongest first.
        summary: one sentence for a person.
    """

    id: str
    incident: str
    sequence: int
    status: Status
    level: Level
    severity: Severity
    model: str
    segment: str
    began_at: float
    raised_at: float
    features: list[Verdict]
    summary: str
