"""What the judge has to say, as the bytes that others read: alerts and requests to retrain.

One place for it, so that `driftline replay` prints what the topics would carry.
"""

from __future__ import annotations

import msgspec

from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from streams.records import cloudevents


def event_of(finding: Alert | Request) -> bytes:
    """Return the CloudEvent of a finding: the same finding gives the same bytes."""
    kind, at = (
        (cloudevents.ALERT, finding.raised_at) if isinstance(finding, Alert) else (cloudevents.RETRAIN, finding.requested_at)
    )
    return cloudevents.encode(kind, finding.id, finding.model, at, msgspec.to_builtins(finding))
