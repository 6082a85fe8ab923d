"""Pairing: predictions and labels of one partition of events make pairs.

In: columns of predictions and labels with an id, in offset order. Out: pairs, what became of every label, what waits, and
what a flush has to store. The join stage (streams/stages/join.py) and the reader of a file of events
(driftline/readers/pairs.py) use it.

==================  ====================================================================
`pairing.py`        the rules: which prediction and which label make a pair
`by_columns.py`     the same for a stretch at once; `one_by_one.py` for ids that are used again
`columns.py`        types of the columns: a prediction, a label, a pair
`taken.py`          what a stretch led to
`pairs.py`          what waits of one model
`table.py`          rows by key, with their `index.py`
`keys.py`           an id as 96 bits
`values.py`         any value as a number of 64 bits
`bounds.py`         what is alive: expiry, the sample, bytes
`partition.py`      all models of a partition in one bound, and what is stored
`stretch.py`        what is stored: what a model took in some records
==================  ====================================================================

Open `pairing.py` first, then `partition.py`.
"""
