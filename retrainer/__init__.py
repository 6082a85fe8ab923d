"""The retrainer: a retrain request comes in, a decision goes out, and a better model is served.

In: requests (topic retrains), labels to learn (topic outcomes) and features (topic rows), the served version (serving.registry).
Out: new versions and the pointer in Redis, swap events (topic swaps), decisions for the judge (topic windows).

::

    request  ->  training  ->  candidate  ->  gate  ->  swap
    parse        rows          learn          test      record, move the pointer, announce

Open `trial.py` first: it takes one request through these steps. `training.py` reads what `labels.py` and `training_set.py` hold.
`worker.py` is the process around it, `loss.py` the loss of an answer, `outage.py` the wait for Kafka or Redis, `publish.py`
the way to publish a model by hand.
"""
