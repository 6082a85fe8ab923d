"""Prometheus alerting rules, from the metric catalogue.

Rules:
1. Silence is not recovery. An incident's gauge vanishes with the process that exposes it. So its last value counts until
   another process exposes it (`_known`), and a missing process is an alert.
2. A labelled counter appears at its first count, and `increase` over a new series is 0. So a series that was not there
   before counts in full (`_grew`).
3. Every metric named here is in the catalogue, under its newest name; every alert has a section of its name in docs/runbook.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.metrics import CATALOGUE

RUNBOOK = "docs/runbook.md"

#: Process -> Prometheus job in deploy/prometheus.yml.
JOBS: dict[str, str] = {process: f"driftline-{process}" for process in ("worker", "retrainer", "serve")}

#: The last value of a process that is gone counts for so long. By then DriftlineWorkerDown has fired for a day.
_MEMORY = "1d"

_NAMES = frozenset(spec.name for spec in CATALOGUE if not spec.alias_of)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting rule; `summary` and `description` are Prometheus templates."""

    alert: str
    expr: str
    severity: str
    summary: str
    description: str
    hold: str = "0s"


def _metric(name: str) -> str:
    if name not in _NAMES:
        raise KeyError(f"dashboards/rules.py: {name} is not in the catalogue of streams/metrics.py: add it or rename it")
    return name


def _known(name: str, by: str, *, where: str = "") -> str:
    """Return the gauge, or its last value where no process exposes it."""
    series = _metric(name) + where
    return f"(max by ({by}) ({series}) or max by ({by}) (last_over_time({series}[{_MEMORY}])))"


def _grew(name: str, by: str, *, window: str = "10m", where: str = "") -> str:
    """Return by how much a counter grew, new series included; no result where it did not grow."""
    series = _metric(name) + where
    return f"sum by ({by}) (increase({series}[{window}]) > 0 or ({series} unless {series} offset {window}) > 0) > 0"


def _list_of(label: str, metric: str, heading: str) -> str:
    """Return a template: the heading and the values of `label` that are 1 for the alert's model, or nothing."""
    query = f'query (printf "max by ({label}) ({_metric(metric)}{{model=%q}}) == 1" $labels.model)'
    item = f"{{{{ if $i }}}}, {{{{ end }}}}{{{{ $series.Labels.{label} }}}}"
    return f"{{{{ with {query} }}}}{heading}{{{{ range $i, $series := . }}}}{item}{{{{ end }}}}.{{{{ end }}}}"


def _down(process: str, severity: str, consequence: str) -> Rule:
    job = JOBS[process]
    return Rule(
        f"Driftline{process.capitalize()}Down",
        # `up == 0`: a target does not answer. `absent`: no target of the job is scraped any more.
        f'up{{job="{job}"}} == 0 or absent(up{{job="{job}"}})',
        severity,
        f"A Driftline {process} does not answer",
        f"No metrics from {job}{{{{ with $labels.instance }}}} at {{{{ . }}}}{{{{ end }}}} for two minutes. {consequence}",
        hold="2m",
    )


def _incidents() -> tuple[Rule, ...]:
    features = _list_of("feature", "driftline_drifted_feature", " Features in drift: ")
    return (
        Rule(
            "DriftlineDrift",
            _known("driftline_incidents_open", "model", where='{level="drift"}') + " > 0",
            "warning",
            "Model {{ $labels.model }}: its input has drifted",
            "Open incidents of model {{ $labels.model }}: {{ $value }}." + features,
        ),
        Rule(
            "DriftlinePerformance",
            _known("driftline_incidents_open", "model", where='{level="performance"}') + " > 0",
            "critical",
            "Model {{ $labels.model }}: its answers have become worse",
            "Open incidents on the outcomes of model {{ $labels.model }}: {{ $value }}. Its error rose above the reference.",
        ),
        Rule(
            "DriftlineReferenceLearning",
            f"max by (model) ({_metric('driftline_reference_learning')}) > 0",
            "info",
            "Model {{ $labels.model }}: the reference is still being learned",
            "Nothing is judged for model {{ $labels.model }} until its reference is complete.",
            hold="5m",
        ),
    )


def _data() -> tuple[Rule, ...]:
    dead = f"sum(rate({_metric('driftline_dead_letters_total')}[10m]))"
    read = f"(sum(rate({_metric('driftline_events_total')}[10m])) or vector(0))"
    late = _grew("driftline_late_events_total", "model", window="5m")
    all_of_model = _grew("driftline_events_total", "model", window="5m", where='{kind!="tick"}')
    unread = _metric("driftline_unread_records")
    skew, window = _metric("driftline_watermark_skew_seconds"), _metric("driftline_window_close_delay_seconds")
    share = _metric("driftline_join_share")
    foreign = _grew("driftline_outcomes_total", "model", window="1h", where='{result="foreign"}')
    labels = _grew("driftline_events_total", "model", window="1h", where='{kind="label"}')
    return (
        Rule(
            "DriftlineDeadLetters",
            # Events and dead letters are counted apart: if all events are bad, the share is 1.
            f"{dead} / ({dead} + {read}) > 0.01",
            "warning",
            "Over 1 % of the events cannot be used",
            "{{ $value | humanizePercentage }} of the events of the last 10 minutes went to the dead letters.",
            hold="5m",
        ),
        Rule(
            "DriftlineLateEvents",
            f"({late}) / ({all_of_model}) > 0.01",
            "warning",
            "Model {{ $labels.model }}: over 1 % of its events come too late",
            "{{ $value | humanizePercentage }} of the events of model {{ $labels.model }} in 5 minutes are in no window: "
            "one fast clock closes windows for the others.",
            hold="10m",
        ),
        Rule(
            "DriftlineLag",
            f"sum by (topic) ({unread}) > 10000 and sum by (topic) (deriv({unread}[10m])) >= 0",
            "warning",
            "Topic {{ $labels.topic }}: the workers do not keep up",
            "{{ $value }} records of topic {{ $labels.topic }} are unread, and the number does not fall.",
            hold="10m",
        ),
        Rule(
            "DriftlineSourceStuck",
            # An idle source gets a tick after seconds; sources that are one window apart are the ordinary case.
            f"max by (model, kind) ({skew}) > 2 * max by (model, kind) ({window}) + 60 "
            f"and max by (model, kind) (deriv({skew}[10m])) >= 0",
            "warning",
            "Model {{ $labels.model }}: one partition holds up the others",
            "A source of the {{ $labels.kind }} of model {{ $labels.model }} is {{ $value | humanizeDuration }} of event time "
            "behind the furthest, and does not catch up. No window is judged that it may still have a part of.",
            hold="10m",
        ),
        Rule(
            "DriftlineRecordsLost",
            _grew("driftline_records_lost_total", "topic", window="1h"),
            "critical",
            "Topic {{ $labels.topic }}: retention removed records before they were judged",
            "Records of topic {{ $labels.topic }} removed unread in an hour: {{ $value | humanize }}. They are in no window.",
        ),
        Rule(
            "DriftlineRewinding",
            # A single error is over after five minutes; only errors that go on last ten.
            _grew("driftline_rewinds_total", "agent", window="5m"),
            "warning",
            "Agent {{ $labels.agent }} goes back and tries again",
            "Times that agent {{ $labels.agent }} went back after an error, in 5 minutes: {{ $value | humanize }}.",
            hold="10m",
        ),
        Rule(
            "DriftlinePredictionsDropped",
            _grew("driftline_predictions_dropped_total", "model"),
            "warning",
            "Model {{ $labels.model }}: predictions are not being logged",
            "Prediction logs of model {{ $labels.model }} dropped in 10 minutes: {{ $value | humanize }}. "
            "Requests are answered, but drift is judged on what is left.",
        ),
        Rule(
            "DriftlineJoinSampled",
            f"min by (model) ({share}) < 1",
            "warning",
            "Model {{ $labels.model }}: only a sample of predictions is joined",
            "{{ $value | humanizePercentage }} of the ids of model {{ $labels.model }} are joined with their labels, "
            "because more predictions wait than [join] most_bytes holds.",
            hold="10m",
        ),
        Rule(
            "DriftlineForeignLabels",
            f"({foreign}) / ({labels}) > 0.1",
            "warning",
            "Model {{ $labels.model }}: over a tenth of its labels find no prediction",
            "{{ $value | humanizePercentage }} of the labels of model {{ $labels.model }} in an hour found no prediction: is the "
            "key of their messages the id?",
            hold="10m",
        ),
    )


def _loop() -> tuple[Rule, ...]:
    return (
        Rule(
            "DriftlineRetrainAbandoned",
            _grew("driftline_retrains_total", "model", window="1h", where='{decision="abandoned"}'),
            "warning",
            "Model {{ $labels.model }}: a retrain was given up",
            "Retrains of model {{ $labels.model }} abandoned in an hour: {{ $value | humanize }}. "
            "The version in service stays, and what it was to be retrained for goes on.",
        ),
        Rule(
            "DriftlineModelRefused",
            _grew("driftline_model_load_failures_total", "model, reason"),
            "critical",
            "Model {{ $labels.model }}: serving refused to load a version",
            "Refused because of {{ $labels.reason }}. Serving goes on answering with the version it has.",
        ),
        Rule(
            "DriftlineWebhookFailing",
            _grew("driftline_webhook_deliveries_total", "result", where='{result="failed"}'),
            "warning",
            "Webhook deliveries fail",
            "Webhook deliveries failed in 10 minutes: {{ $value | humanize }}. Alerts still come through Alertmanager.",
        ),
    )


def _processes() -> tuple[Rule, ...]:
    return (
        _down("worker", "critical", "Nothing is judged; open incidents stay open as they were last seen."),
        _down("retrainer", "warning", "Retrain requests wait on their topic; none is lost."),
        _down("serve", "critical", "Predictions are not answered."),
    )


def rules() -> dict[str, tuple[Rule, ...]]:
    """Return every rule by group, in the order of the rules file."""
    return {
        "driftline-incidents": _incidents(),
        "driftline-data": _data(),
        "driftline-loop": _loop(),
        "driftline-processes": _processes(),
    }


def _entry(rule: Rule, runbook: str) -> dict[str, Any]:
    return {
        "alert": rule.alert,
        "expr": rule.expr,
        **({} if rule.hold == "0s" else {"for": rule.hold}),
        "labels": {"severity": rule.severity, "product": "driftline"},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{runbook}#{rule.alert.lower()}",
        },
    }


def rule_file(runbook: str = RUNBOOK) -> dict[str, Any]:
    """Return the rules file as data; `runbook` is the address that alerts link to, without the anchor."""
    return {
        "groups": [{"name": group, "rules": [_entry(rule, runbook) for rule in members]} for group, members in rules().items()]
    }
