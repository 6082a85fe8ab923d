"""The Grafana dashboard: rows of panels from the catalogue, model and source chosen by variables.

Grafana reads it from a file (deploy/grafana/), so nothing in it depends on one installation: the data source is a
variable, annotations come from Grafana's own store by tag (dashboards/push.py writes them), ids and the uid never change.
"""

from __future__ import annotations

from typing import Any

from dashboards.panels import DATASOURCE, panel, panel_id, rows

UID = "driftline"
#: That of Grafana 12; a newer Grafana migrates the dashboard on load.
SCHEMA_VERSION = 41

_COLUMNS = 3
_WIDTH = 24 // _COLUMNS
_HEIGHT = 7

#: Kind of annotation -> colour. The kinds are the second tag that `push.Annotations` sets.
ANNOTATIONS: dict[str, str] = {"drift": "red", "retrain": "orange", "swap": "green"}


def _annotation(kind: str, colour: str) -> dict[str, Any]:
    return {
        "name": kind.capitalize(),
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "target": {"type": "tags", "tags": ["driftline", kind], "matchAny": False, "limit": 100},
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    query = 'label_values({__name__=~"driftline_.+"}, model)'
    model = {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "model"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }
    return [source, model]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row, specs in rows().items():
        position = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append({"id": panel_id(row), "type": "row", "title": row, "collapsed": False, "gridPos": position, "panels": []})
        y += 1
        for i, spec in enumerate(specs):
            down, across = divmod(i, _COLUMNS)
            panels.append(panel(spec, {"h": _HEIGHT, "w": _WIDTH, "x": across * _WIDTH, "y": y + down * _HEIGHT}))
        y += -(-len(specs) // _COLUMNS) * _HEIGHT
    return panels


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model, the same in every run."""
    return {
        "uid": UID,
        "title": "Driftline",
        "description": "Drift, retrains and swaps of every monitored model, and the health of the monitor itself.",
        "tags": ["driftline"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_annotation(kind, colour) for kind, colour in ANNOTATIONS.items()]},
        "templating": {"list": _variables()},
        "panels": _panels(),
    }
