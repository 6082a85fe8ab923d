"""Events: records of the events topic, as any client writes them -> blocks of rows, events, dead letters.

In: the columns of one fetch (streams/kafka/batch.py).
Out: `Decoded`: a `Block` of rows for each model, `Event`s for those who need single events, and records with a fault.

Open `event.py` first: it says what an event means and which faults it can have. `wire.py` reads its JSON, and
`values.py` has the limits of its values. The other files do the same faster. `decoding.py` chooses the way for each record,
`record_types.py` makes a msgspec type for the features of a model, `typed_records.py` reads the records that fit that
type, `record_columns.py` makes columns of them, `prediction_features.py` picks those of predictions with an id, and
`identified.py` makes the columns of the join.
"""
