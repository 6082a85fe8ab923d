"""One model: records of the windows topic -> findings.

In: `Window`, `Mark`, `Decision` and `Acceptance`, in the order of the log. Out: alerts, requests, learned references.
Open `model_monitor.py` first: it is the state of a model, and the door to the core.

- `channel.py`: one kind of windows (features or outcomes) with its judges, incidents and requests.
- `aligner.py`: parts of a bucket wait until the marks of all sources have passed it.
- `finding.py`: the types of what comes out.
"""
