"""The catalogue of all metrics; /metrics, the dashboard, the rules and docs/metrics.md are made from it.

Rules:
1. Base units in the name (`_seconds`, `_bytes`), counters end in `_total`.
2. Labels come from closed sets (model, topic, reason, ...). No label is an id. A feature's name is a label only on gauges
   that exist while an incident is open.
3. The registry is injected: a process makes one `Metrics` and hands it down.
4. A renamed gauge has a second row, under its old name, for one version (`alias_of`). Code, dashboards and rules use the new
   name alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest, start_http_server

from streams.listening import cannot_listen

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of the catalogue.

    Args:
        name: as it is exposed, with prefix and unit.
        process: who exposes it.
        buckets: upper bounds of a histogram; empty takes the library's.
        alias_of: the new name of a renamed gauge; the old one stays for one version and has the same values.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    process: str = "worker"
    buckets: tuple[float, ...] = ()
    alias_of: str = ""


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)

CATALOGUE: tuple[MetricSpec, ...] = (
    MetricSpec(
        "driftline_events_total",
        "counter",
        "Events read, by kind (prediction, features, label, tick).",
        ("model", "kind"),
    ),
    MetricSpec("driftline_late_events_total", "counter", "Events older than the watermark: counted, in no window.", ("model",)),
    MetricSpec("driftline_dead_letters_total", "counter", "Events sent to the dead letters, by reason.", ("reason",)),
    MetricSpec(
        "driftline_records_lost_total",
        "counter",
        "Records that retention removed before they were in a closed window.",
        ("topic",),
    ),
    MetricSpec(
        "driftline_router_records_total",
        "counter",
        "Records of the labels topic by what became of them: routed to the events topic, or dead (a dead letter).",
        ("topic", "result"),
    ),
    MetricSpec(
        "driftline_router_failures_total",
        "counter",
        "Times the router began again after an error; what it had not committed is read again.",
        ("topic",),
    ),
    MetricSpec(
        "driftline_router_unread_records",
        "gauge",
        "Records of the labels topic that this worker's router has still to read.",
        ("topic",),
    ),
    MetricSpec(
        "driftline_outcomes_total",
        "counter",
        "Labels by what became of them (joined, corrected, duplicate, too_late, foreign, sampled_out, none), and predictions of "
        "an id that has one (repeated).",
        ("model", "result"),
    ),
    MetricSpec(
        "driftline_join_waiting",
        "gauge",
        "Predictions kept until label_within is over, and labels whose prediction has not come.",
        ("model", "what"),
    ),
    MetricSpec("driftline_join_bytes", "gauge", "Memory of what waits in the join.", ("model",)),
    MetricSpec(
        "driftline_join_oldest_seconds",
        "gauge",
        "Event time from the oldest prediction that is kept to the newest.",
        ("model",),
    ),
    MetricSpec(
        "driftline_join_share",
        "gauge",
        "Share of ids that the join keeps, the least of the worker's partitions; below 1 its memory is full.",
        ("model",),
    ),
    MetricSpec(
        "driftline_join_load_seconds", "gauge", "Time that the last loading of what waits in a partition took.", ("partition",)
    ),
    MetricSpec("driftline_join_chunk_bytes_total", "counter", "Bytes written to the log of the join.", ("model",)),
    MetricSpec("driftline_windows_total", "counter", "Windows written to the windows topic.", ("model", "kind")),
    MetricSpec("driftline_windows_judged_total", "counter", "Merged windows judged.", ("model", "kind")),
    MetricSpec(
        "driftline_verdicts_total",
        "counter",
        "Alarms of single statistics, before grouping into incidents.",
        ("model", "statistic"),
    ),
    MetricSpec("driftline_alerts_total", "counter", "Alert events by status (opened, updated, resolved).", ("model", "status")),
    MetricSpec("driftline_incidents_open", "gauge", "Incidents open now, by level (drift, performance).", ("model", "level")),
    MetricSpec("driftline_drifted_feature", "gauge", "1 while the feature is part of an open incident.", ("model", "feature")),
    MetricSpec(
        "driftline_budget_spent_ratio",
        "gauge",
        "Share of a week's false-alarm budget that the incidents of the last week of event time would have spent; 1 is all.",
        ("model",),
    ),
    MetricSpec(
        "driftline_budget_spent",
        "gauge",
        "Old name of driftline_budget_spent_ratio; gone in the next version.",
        ("model",),
        alias_of="driftline_budget_spent_ratio",
    ),
    MetricSpec(
        "driftline_reference_learning",
        "gauge",
        "1 while the model's reference is still being learned: nothing is judged yet.",
        ("model",),
    ),
    MetricSpec("driftline_outliers_total", "counter", "Single events far outside the reference.", ("model",)),
    MetricSpec("driftline_retrain_requests_total", "counter", "Retrain requests written, by reason.", ("model", "reason")),
    MetricSpec(
        "driftline_watermark_seconds",
        "gauge",
        "Event time up to which all partitions have closed their windows of features.",
        ("model",),
    ),
    MetricSpec(
        "driftline_watermark_age_seconds",
        "gauge",
        "Wall clock less the event time up to which a model is judged: grows while any of its sources stands still.",
        ("model", "kind"),
    ),
    MetricSpec(
        "driftline_watermark_skew_seconds",
        "gauge",
        "Event time between the source partition that is furthest and the one that holds it up.",
        ("model", "kind"),
    ),
    MetricSpec(
        "driftline_window_close_delay_seconds",
        "gauge",
        "Width of a model's windows plus the lateness that they wait for.",
        ("model", "kind"),
    ),
    MetricSpec(
        "driftline_window_seconds",
        "gauge",
        "Old name of driftline_window_close_delay_seconds; gone in the next version.",
        ("model", "kind"),
        alias_of="driftline_window_close_delay_seconds",
    ),
    MetricSpec(
        "driftline_lag_records",
        "gauge",
        "Records between the durable offset and the end of the log: what a restart would read.",
        ("topic", "partition"),
    ),
    MetricSpec(
        "driftline_unread_records",
        "gauge",
        "Records between what the slowest agent has taken and the end of the log.",
        ("topic", "partition"),
    ),
    MetricSpec(
        "driftline_rewinds_total", "counter", "Times an agent went back to its last good offset after an error.", ("agent",)
    ),
    MetricSpec(
        "driftline_flush_seconds", "histogram", "Time of one flush: send, acknowledge, snapshot.", ("agent",), "worker", _FAST
    ),
    MetricSpec("driftline_snapshot_bytes", "gauge", "Size of the last snapshot of the judge's state.", ("partition",)),
    MetricSpec("driftline_webhook_deliveries_total", "counter", "Webhook deliveries by result (ok, failed).", ("result",)),
    MetricSpec("driftline_annotations_total", "counter", "Grafana annotations by result (ok, failed, dropped).", ("result",)),
    MetricSpec("driftline_requests_total", "counter", "HTTP requests by route and status code.", ("route", "status"), "serve"),
    MetricSpec("driftline_request_seconds", "histogram", "Time to answer one request.", ("route",), "serve", _FAST),
    MetricSpec(
        "driftline_predictions_dropped_total",
        "counter",
        "Prediction logs dropped: queue full or broker away.",
        ("model",),
        "serve",
    ),
    MetricSpec("driftline_model_version", "gauge", "Version that serving answers with.", ("model",), "serve"),
    MetricSpec(
        "driftline_model_generation", "gauge", "Generation of the pointer that serving follows; only grows.", ("model",), "serve"
    ),
    MetricSpec(
        "driftline_swap_seconds",
        "histogram",
        "Time from the pointer's move to the first answer with the new version.",
        ("model",),
        "serve",
        _SLOW,
    ),
    MetricSpec(
        "driftline_model_load_failures_total", "counter", "Versions that serving refused to load.", ("model", "reason"), "serve"
    ),
    MetricSpec(
        "driftline_retrains_total",
        "counter",
        "Finished retrains by decision (promoted, rejected, abandoned).",
        ("model", "decision"),
        "retrainer",
    ),
    MetricSpec(
        "driftline_retrain_seconds", "histogram", "Time from reading a request to its decision.", ("model",), "retrainer", _SLOW
    ),
    MetricSpec("driftline_training_rows_total", "counter", "Rows that candidates learned from.", ("model",), "retrainer"),
)


class Metrics:
    """All metrics of the catalogue, for one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register every row of the catalogue; `registry` defaults to a new, empty one."""
        self.registry = registry if registry is not None else CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        #: Name -> the gauge, and the one of its other name where it was renamed: both are set together.
        self._gauges: dict[str, tuple[Gauge, ...]] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in CATALOGUE:
            if spec.kind == "counter":
                self._counters[spec.name] = Counter(spec.name, spec.help, spec.labels, registry=self.registry)
            elif spec.kind == "gauge":
                gauge = Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
                self._gauges[spec.name] = (*self._gauges.get(spec.alias_of, ()), gauge)
                if spec.alias_of:
                    self._gauges[spec.alias_of] = self._gauges[spec.name]
            else:
                buckets = spec.buckets or Histogram.DEFAULT_BUCKETS
                self._histograms[spec.name] = Histogram(
                    spec.name, spec.help, spec.labels, registry=self.registry, buckets=buckets
                )

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add `amount` to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        for gauge in self._gauges[name]:
            (gauge.labels(**labels) if labels else gauge).set(value)

    def clear(self, name: str) -> None:
        """Remove every labelled series of a gauge: a worker does not expose what it no longer owns."""
        for gauge in self._gauges[name]:
            gauge.clear()

    def only(self, name: str, label: str, values: set[str], /, **labels: str) -> None:
        """Set a gauge to 1 for exactly these values of `label`, and remove the series of all others."""
        order = next(spec for spec in CATALOGUE if spec.name == name).labels
        for gauge in self._gauges[name]:
            for sample in next(iter(gauge.collect())).samples:
                if all(sample.labels.get(key) == value for key, value in labels.items()) and sample.labels[label] not in values:
                    gauge.remove(*(sample.labels[key] for key in order))
            for value in values:
                gauge.labels(**labels, **{label: value}).set(1)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Put a value into a histogram, in the unit its name says."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def render(self) -> tuple[str, bytes]:
        """Return the content type and the text of /metrics, for a process that has an HTTP server of its own."""
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)

    def serve(self, host: str, port: int, *, remedy: str) -> int:
        """Expose /metrics from a thread of its own and return the port taken (0 lets the system choose).

        Args:
            host: address to listen on.
            port: 0 to 65535.
            remedy: what the operator should do where the port is taken: the end of the error's sentence.

        Raises:
            UnavailableError: the port is taken, or this machine has no such address.
        """
        try:
            server, _thread = start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise cannot_listen(host, port, error, remedy) from None
        return int(server.server_port)
