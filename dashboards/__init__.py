"""Dashboards: the Grafana dashboard, the Prometheus rules, the page of metrics, and annotations.

In: the metric catalogue (streams/metrics.py), and the events that are marked in Grafana.
Out: dashboards/files/driftline.json, dashboards/files/rules.yml, docs/metrics.md; annotations over HTTP.

Open `build.py` first: it writes the files. `panels.py` and `grafana.py` make the dashboard, `rules.py` the alerting rules.
`push.py` stands alone: it sends the annotations.
"""
