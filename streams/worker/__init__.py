"""The worker: the process that joins, summarises, judges and notifies.

In: settings. Out: an exit code; until then, everything that the agents write, and /metrics.

Open `agents.py` first: which agents there are, and what each reads. `app.py` puts them into one Faust app and runs it.
`lag.py` shows how far behind it is, `guard.py` notices topics that were created again, and `shutdown.py` ends the
process within five seconds.
"""
