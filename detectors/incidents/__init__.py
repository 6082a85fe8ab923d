"""Room incidents: verdicts -> alerts and requests to retrain.

In: verdicts of a window. Out: alerts (`alert.py`) and requests (`retrain.py`). Begin with `incident.py`; `decision.py` is what
comes back from a retrain or from a person.
"""
