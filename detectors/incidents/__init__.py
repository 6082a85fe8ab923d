"""Verdicts -> incidents -> alerts and requests to retrain; decisions come back.

In: verdicts of one kind of windows, recoveries, decisions. Out: `Alert` and `Request`.
Open `incident.py` first: it says which verdicts belong together, and writes the summary of an alert.

- `alert.py`: the alert; `retrain.py`: when a retrain is requested.
- `decision.py`: the end of a retrain, and a change that a person accepted.
"""
