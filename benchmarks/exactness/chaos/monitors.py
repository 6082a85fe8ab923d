"""The three models that the deployment monitors: their windows lie in three partitions, so that judges spread."""

from __future__ import annotations

from dataclasses import dataclass

#: Width of a window, allowed lateness, and how long a label may take, in seconds of event time.
WINDOW_SECONDS = 600.0
LATENESS_SECONDS = 300.0
LABEL_WITHIN_SECONDS = 6 * 3600.0
#: Windows of every model's reference.
REFERENCE_WINDOWS = 40


@dataclass(frozen=True, slots=True)
class Monitor:
    """One model: its segments ("" for none), and whether it predicts numbers or classes."""

    name: str
    segments: tuple[str, ...]
    numbers: bool = False


MONITORS = (Monitor("fraud", ("eu", "us", "apac")), Monitor("churn", ("",)), Monitor("prices", ("",), numbers=True))

# The budget is generous on purpose: alarms at the border come and go with a single row, so a row that
# is lost or counted twice shows in the alerts.
_MODEL = f"""
[models.{{name}}]
factory = "river.linear_model:LogisticRegression"
window = "{WINDOW_SECONDS:g}s"
lateness = "{LATENESS_SECONDS:g}s"
false_alarms = "{{alarms}} per week"

[models.{{name}}.reference]
duration = "{REFERENCE_WINDOWS * WINDOW_SECONDS:g}s"
min_windows = 30

[models.{{name}}.outcomes]
label_within = "{LABEL_WITHIN_SECONDS:g}s"

[models.{{name}}.retrain]
cooldown = "1h"
"""
_ALARMS_PER_WEEK = 900

#: The part of driftline.toml that describes them.
TOML = "".join(_MODEL.format(name=monitor.name, alarms=_ALARMS_PER_WEEK) for monitor in MONITORS)
