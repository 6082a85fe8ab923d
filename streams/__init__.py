"""Streams: the worker around the core, from the bytes on Kafka's topics to findings, and back to bytes.

In: events of any client on the events topic; decisions and acceptances on the windows topic.
Out: outcomes, windows, alerts, outliers, requests to retrain, dead letters; notifications; /metrics.

A room imports only the rooms below it:

============  ====================================================================
`worker/`     the process: one Faust app with all agents, its lag, its guard, its stop
`stages/`     what each agent does with one partition
`engine/`     fetches, offsets, epochs, rewinds, outboxes: exactness
`state/`      Redis: snapshots, references, the binding, the rebuild
`events/`     records of the events topic -> blocks of rows, and events
`records/`    what our other topics carry, as bytes
`kafka/`      producer, readers, topics
============  ====================================================================

Beside them: `settings.py` (configuration as plain values), `topics.py` and `metrics.py` (both are tables),
`patience.py` (rate limit of log lines, back-off), `listening.py` (the error when a port is taken).

Open `worker/agents.py` first: it is the table of the agents. docs/architecture.md follows one event through the rooms.
"""
