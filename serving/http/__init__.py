"""The HTTP service of `driftline serve`.

In: requests for predictions, labels of predictions, health checks.
Out: answers of the live models; events on their way to Kafka; metrics.

Open `service.py` first: it has all routes. `body.py` and `oip.py` read and write the bodies (native routes, Open Inference
Protocol), `eventlog.py` sends the events, `run.py` is the process: start, listen, stop.
"""
