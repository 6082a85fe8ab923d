"""Records of foreign topics, written to ours: labels that come under a key of their own.

In: a topic of the user, of any number of partitions and keys.
Out: messages on our topics under our keys, dead letters; each record counts once, whatever crashes.

Open `router.py` first: the thread, and what happens after an error. `labels.py` says what becomes of one record of labels.
The transactions are those of streams/kafka/transaction.py.
"""

from streams.routing.labels import label_route
from streams.routing.router import Route, Router

__all__ = ["Route", "Router", "label_route"]
