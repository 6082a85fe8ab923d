"""Room model: all state of one monitored model.

In: records of the windows topic. Out: findings, which are alerts, requests and references. Begin with `model_monitor.py`; a
`channel.py` is one kind of windows, and `aligner.py` completes its buckets.
"""
