"""Pairing: a prediction and the label of the same id make an outcome.

In: an event with an id, and what is kept of the two halves of that id. Out: what becomes of the event (`Pairing`).
Whoever uses the room keeps the halves: the join stage in Redis (streams/stages/join.py), the reader of a file of
events in memory (driftline/readers/pairs.py).

Open `pairing.py`: it is all there is.
"""
