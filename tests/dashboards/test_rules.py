"""The Prometheus rules, judged by Prometheus' own tools."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from prometheus_client import generate_latest

from dashboards.build import FILES, RULES, rules_text
from dashboards.rules import JOBS, rule_file, rules
from streams.metrics import CATALOGUE, Metrics
from tests.support.paths import DATA, ROOT

pytestmark = pytest.mark.fast

CASES = sorted((DATA / "rules").glob("*.yml"))
ALL = [rule for members in rules().values() for rule in members]


def run(*command: str, stdin: bytes = b"") -> None:
    """Run a tool; what it complains about is the assertion's message."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def every_metric() -> bytes:
    """Return the exposition of a process in which every metric has a value."""
    metrics = Metrics()
    for spec in CATALOGUE:
        labels = dict.fromkeys(spec.labels, "x")
        {"counter": metrics.count, "gauge": metrics.gauge, "histogram": metrics.observe}[spec.kind](spec.name, 1.0, **labels)
    return generate_latest(metrics.registry)


@pytest.mark.slow
def test_promtool_accepts_the_rules(tool):
    """`promtool check rules` finds nothing wrong with the file that is shipped."""
    run(tool("promtool"), "check", "rules", str(FILES / RULES))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_rules_say_what_they_should_and_nothing_else(tool, case):
    """Alerts fire on the inputs of the case file, stay quiet on the others, and a crash resolves nothing."""
    run(tool("promtool"), "test", "rules", str(case))


@pytest.mark.slow
def test_promtool_accepts_the_metrics(tool):
    """`promtool check metrics` finds no fault in names, units and help texts of the whole catalogue."""
    run(tool("promtool"), "check", "metrics", stdin=every_metric())


def test_the_yaml_reads_as_what_was_meant():
    """The rules file is YAML that any parser reads back as the data it was made from."""
    assert yaml.safe_load(rules_text()) == rule_file()


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.alert)
def test_every_rule_is_tested_on_noise_and_on_quiet(rule):
    """Every alert has a case in which it fires and one in which a healthy system keeps it quiet."""
    cases = [test for case in CASES for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]]
    expected = [entry for case in cases for entry in case["alert_rule_test"] if entry["alertname"] == rule.alert]
    assert any(entry.get("exp_alerts") for entry in expected)
    assert any(not entry.get("exp_alerts") for entry in expected)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.alert)
def test_every_rule_has_a_severity_and_a_section_in_the_runbook(rule):
    """An alert that wakes somebody says how bad it is and has a section that says what to do."""
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert rule.severity in {"critical", "warning", "info"}
    assert f"\n## {rule.alert}\n" in runbook


def test_the_runbook_has_no_section_for_an_alert_that_is_gone():
    """Every section of the runbook that is named like an alert belongs to an alert."""
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (Driftline\w+)$", runbook, re.MULTILINE)) == {rule.alert for rule in ALL}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.alert)
def test_rules_use_only_metrics_and_labels_of_the_catalogue(rule):
    """A rule on a metric that nobody exposes would be quiet for ever."""
    catalogue = {spec.name: spec for spec in CATALOGUE if not spec.alias_of}
    named = set(re.findall(r"\bdriftline_\w+", rule.expr + rule.description))
    assert named <= set(catalogue)
    assert named or any(job in rule.expr for job in JOBS.values())
    for labels in re.findall(r"by \(([\w, ]+)\)", rule.expr):
        assert set(labels.split(", ")) <= {label for name in named for label in catalogue[name].labels}
