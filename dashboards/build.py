"""Writes the dashboard and the rules from the metric catalogue: `python -m dashboards.build DIRECTORY [RUNBOOK_URL]`.

The package ships both files in dashboards/files/; a test keeps them equal to this output.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from dashboards.grafana import dashboard
from dashboards.rules import RUNBOOK, rule_file
from streams.metrics import CATALOGUE

#: The files that the package ships.
FILES = Path(__file__).parent / "files"
DASHBOARD = "driftline.json"
RULES = "rules.yml"


def yaml(value: Any, indent: int = 0) -> str:
    """Return plain data as YAML, in block style; strings are quoted as in JSON, which YAML reads.

    >>> print(yaml({"groups": [{"name": "a", "limits": [1, 2]}]}))
    groups:
      - name: "a"
        limits:
          - 1
          - 2
    """
    pad = "  " * indent
    if isinstance(value, dict) and value:
        return "\n".join(f"{pad}{key}:{_below(item, indent + 1)}" for key, item in value.items())
    if isinstance(value, list) and value:
        # The first line of an item stands behind its dash, so its padding goes.
        return "\n".join(f"{pad}- {yaml(item, indent + 1).lstrip(' ')}" for item in value)
    return pad + orjson.dumps(value).decode()


def _below(value: Any, indent: int) -> str:
    nested = isinstance(value, dict | list) and value
    return f"\n{yaml(value, indent)}" if nested else f" {yaml(value)}"


def dashboard_text() -> str:
    """Return the dashboard as indented JSON."""
    return orjson.dumps(dashboard(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def rules_text(runbook: str = RUNBOOK) -> str:
    """Return the rules file as YAML."""
    head = "# Generated from the metric catalogue by `python -m dashboards.build`; a test keeps it so.\n"
    return head + yaml(rule_file(runbook)) + "\n"


def metrics_page() -> str:
    """Return docs/metrics.md: a table for each process that exposes metrics."""
    lines = [
        "# Metrics",
        "",
        "<!-- Generated from the metric catalogue by `python -m dashboards.build --metrics`; a test keeps it so. -->",
        "",
        "Every process exposes `/metrics`.",
        "A counter appears at its first count, so a series that is not there counts as zero.",
        "No metric carries an id, and feature names appear only on gauges that live as long as an incident.",
    ]
    for process in dict.fromkeys(spec.process for spec in CATALOGUE):
        lines += ["", f"## driftline {process}", "", "| metric | kind | labels | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{spec.name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |"
            for spec in CATALOGUE
            if spec.process == process
        ]
    return "\n".join(lines) + "\n"


def write(directory: Path, runbook: str = RUNBOOK) -> tuple[Path, ...]:
    """Write the dashboard and the rules into `directory`, made when missing, and return the files.

    Args:
        directory: to write into; files of the same names are replaced.
        runbook: address of docs/runbook.md as your on-call reaches it; alerts link to its sections.
    """
    directory.mkdir(parents=True, exist_ok=True)
    texts = {directory / DASHBOARD: dashboard_text(), directory / RULES: rules_text(runbook)}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return tuple(texts)


def main(arguments: list[str]) -> int:
    """Write into the directory given first, with the runbook address given second; return 2 without a directory.

    `--metrics` alone prints docs/metrics.md instead.
    """
    if arguments == ["--metrics"]:
        sys.stdout.write(metrics_page())
        return 0
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: python -m dashboards.build DIRECTORY [RUNBOOK_URL], or --metrics\n")
        return 2
    for path in write(Path(arguments[0]), *arguments[1:]):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
