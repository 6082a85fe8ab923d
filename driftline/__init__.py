"""Driftline: a streaming drift monitor that closes the loop.

This package is the front door. A command line or a file comes in; Kafka records, a running process, a file or a
table goes out. Open driftline/cli/main.py first: it has the table of all commands.

Rooms, each imports only rooms above it:

- `text`: words and tables for people, and words of people read as numbers. `servers`: Kafka and Redis started here.
- `config`: `driftline.toml` in, `Settings` out. `readers`: files of rows, events and windows in, rows out.
  `explain`: how thresholds follow from the budget.
- `replay`: the alerts that a file would have raised.
- `references`: what is normal, learned from a file, accepted, shown. `demo`: all of it on one machine.
- `cli`: the commands. Beside the rooms, `annotating.py` turns alerts and swaps into annotations in Grafana.

`detectors`, `streams`, `serving`, `retrainer` and `dashboards` do the work; this package imports all of them, and none of
them imports it. `import driftline` alone imports nothing.
"""
