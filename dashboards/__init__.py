"""What people look at: the Grafana dashboard, Prometheus rules and metric pages, all from one catalogue."""
