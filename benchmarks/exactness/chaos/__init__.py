"""Deployments that are disturbed while they work, compared with a calm run over the same input log.

In: an input log (log.py, malformed.py) for the models of monitors.py. Out: differences between what the topics hold (evidence.py)
and what they must hold (expected.py, account.py). Open first: scenarios.py, then run.py.
"""
