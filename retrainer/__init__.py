"""The retrainer: a retrain request comes in, a decision goes out, and a better model is served.

In: requests (topic retrains), outcomes to learn from (topic outcomes), the served version (serving.registry).
Out: new versions and the pointer in Redis, swap events (topic swaps), decisions for the judge (topic windows).

::

    request  ->  training  ->  candidate  ->  gate  ->  swap
    parse        rows          learn          test      record, move the pointer, announce

Open `trial.py` first: it takes one request through these steps. `worker.py` is the process around it, `loss.py` the loss of an
answer, `outage.py` the wait for Kafka or Redis, `publish.py` the way to publish a model by hand.
"""
