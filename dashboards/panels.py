"""A panel for each metric: its query, unit and look follow from the metric's kind, name and labels.

Rules:
1. A panel's id is a hash of its metric's name, so a new metric breaks no link to another panel.
2. A metric that no row names still gets a panel, in the last row: nothing is measured unseen. Old names get none.
3. Counters of rare events are drawn as totals. The rate of a series that begins at 1 is zero.
"""

from __future__ import annotations

import zlib
from typing import Any

from streams.metrics import CATALOGUE, MetricSpec

DATASOURCE: dict[str, str] = {"type": "prometheus", "uid": "${datasource}"}

#: Rows from top to bottom, in the order of on-call's questions.
ROWS: dict[str, tuple[str, ...]] = {
    "Is anything wrong?": (
        "driftline_incidents_open",
        "driftline_drifted_feature",
        "driftline_reference_learning",
        "driftline_budget_spent_ratio",
        "driftline_alerts_total",
        "driftline_verdicts_total",
        "driftline_outliers_total",
    ),
    "Is the loop closing?": (
        "driftline_retrain_requests_total",
        "driftline_retrains_total",
        "driftline_model_version",
        "driftline_training_rows_total",
        "driftline_retrain_seconds",
        "driftline_swap_seconds",
        "driftline_model_generation",
        "driftline_model_load_failures_total",
    ),
    "What comes in": (
        "driftline_events_total",
        "driftline_outcomes_total",
        "driftline_late_events_total",
        "driftline_windows_total",
        "driftline_windows_judged_total",
        "driftline_dead_letters_total",
        "driftline_records_lost_total",
        "driftline_router_records_total",
        "driftline_router_unread_records",
        "driftline_router_failures_total",
    ),
    "Serving": (
        "driftline_requests_total",
        "driftline_request_seconds",
        "driftline_predictions_dropped_total",
    ),
    "Health of the monitor": (
        "driftline_unread_records",
        "driftline_lag_records",
        "driftline_watermark_age_seconds",
        "driftline_watermark_skew_seconds",
        "driftline_watermark_seconds",
        "driftline_window_close_delay_seconds",
        "driftline_rewinds_total",
        "driftline_flush_seconds",
        "driftline_snapshot_bytes",
        "driftline_webhook_deliveries_total",
        "driftline_annotations_total",
    ),
}
LAST_ROW = "More"

#: Counters that grow a few times a day: their total says more than their rate.
RARE = frozenset(
    {
        "driftline_alerts_total",
        "driftline_verdicts_total",
        "driftline_retrain_requests_total",
        "driftline_retrains_total",
        "driftline_model_load_failures_total",
        "driftline_predictions_dropped_total",
        "driftline_dead_letters_total",
        "driftline_rewinds_total",
        "driftline_router_failures_total",
        "driftline_webhook_deliveries_total",
        "driftline_annotations_total",
    }
)

#: Gauges of a state, drawn as a band over time: value -> (text, colour).
STATES: dict[str, dict[str, tuple[str, str]]] = {
    "driftline_drifted_feature": {"0": ("steady", "green"), "1": ("drifted", "red")},
    "driftline_reference_learning": {"0": ("judging", "green"), "1": ("learning", "blue")},
}

#: Gauges of a point in time; Grafana reads milliseconds.
TIMES = frozenset({"driftline_watermark_seconds"})
#: Gauges of a share.
SHARES = frozenset({"driftline_budget_spent_ratio"})


def rows() -> dict[str, tuple[MetricSpec, ...]]:
    """Return row -> metrics of the catalogue; metrics that no row names are in the last row."""
    specs = {spec.name: spec for spec in CATALOGUE}
    by_row = {row: tuple(specs[name] for name in names if name in specs) for row, names in ROWS.items()}
    named = {name for names in ROWS.values() for name in names}
    rest = tuple(spec for spec in CATALOGUE if spec.name not in named and not spec.alias_of)
    return by_row | ({LAST_ROW: rest} if rest else {})


def panel_id(name: str) -> int:
    """Return the id of a panel or row: positive, 31 bits, from its name alone.

    >>> panel_id("driftline_events_total") == panel_id("driftline_events_total")
    True
    """
    return zlib.crc32(name.encode()) & 0x7FFFFFFF or 1


def selector(spec: MetricSpec, suffix: str = "") -> str:
    """Return the series of a metric, narrowed to the chosen models where it has the label."""
    return f'{spec.name}{suffix}{{model=~"$model"}}' if "model" in spec.labels else f"{spec.name}{suffix}"


def queries(spec: MetricSpec) -> list[tuple[str, str]]:
    """Return (expression, legend) pairs that draw the metric."""
    labels = ", ".join(spec.labels)
    legend = " · ".join(f"{{{{{label}}}}}" for label in spec.labels)
    if spec.kind == "histogram":
        rate = f"sum by (le, {labels}) (rate({selector(spec, '_bucket')}[$__rate_interval]))"
        return [(f"histogram_quantile({q}, {rate})", f"{legend} · {name}") for q, name in ((0.5, "median"), (0.99, "99 %"))]
    if spec.kind == "counter" and spec.name not in RARE:
        return [(f"sum by ({labels}) (rate({selector(spec)}[$__rate_interval]))", legend)]
    if spec.kind == "counter":
        return [(f"sum by ({labels}) ({selector(spec)})", legend)]
    scale = " * 1000" if spec.name in TIMES else ""
    return [(f"max by ({labels}) ({selector(spec)}){scale}", legend)]


def unit(spec: MetricSpec) -> str:
    """Return Grafana's name of the metric's unit, which follows from its name and kind."""
    if spec.name in TIMES:
        return "dateTimeAsIso"
    if spec.name in SHARES:
        return "percentunit"
    if spec.name.endswith("_seconds"):
        return "s"
    if spec.name.endswith("_bytes"):
        return "bytes"
    return "cps" if spec.kind == "counter" and spec.name not in RARE else "short"


def title(spec: MetricSpec) -> str:
    """Return a heading in plain words: `driftline_dead_letters_total` is "Dead letters"."""
    words = spec.name.removeprefix("driftline_").removesuffix("_total").removesuffix("_seconds").removesuffix("_bytes")
    words = words.removesuffix("_ratio")
    return words.replace("_", " ").capitalize()


def panel(spec: MetricSpec, position: dict[str, int]) -> dict[str, Any]:
    """Return the panel that draws a metric at `position` (Grafana's gridPos)."""
    states = STATES.get(spec.name)
    defaults: dict[str, Any] = {"unit": unit(spec), "min": None if spec.name in TIMES else 0}
    if states:
        options = {value: {"text": text, "color": colour, "index": i} for i, (value, (text, colour)) in enumerate(states.items())}
        defaults = {"mappings": [{"type": "value", "options": options}], "custom": {"fillOpacity": 70, "lineWidth": 0}}
    look: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if not states:
        look["tooltip"] = {"mode": "multi", "sort": "desc"}
    return {
        "id": panel_id(spec.name),
        "type": "state-timeline" if states else "timeseries",
        "title": title(spec),
        "description": f"{spec.help} Metric: {spec.name}",
        "datasource": DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": look,
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
            for i, (expr, legend) in enumerate(queries(spec))
        ],
    }
