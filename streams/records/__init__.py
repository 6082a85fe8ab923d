"""Records: what our own topics carry, as bytes and back.

In and out: `Window`, `Mark`, `Decision`, `Acceptance`, `Outcome`, `Alert`, `Request` and the events of other parts.

=====================  ======================================================================
`window_codec.py`      windows topic: MessagePack of a record; needs no Kafka
`window_records.py`    windows topic: the message with its topic and key
`outcomes.py`          outcomes topic: JSON, and the error of an outcome
`outcome_errors.py`    the errors of many outcomes, as rows of windows
`join_chunks.py`       topic of the join: what a flush took, packed
`training_rows.py`     rows topic: features of predictions, packed
`feature_columns.py`   the columns of a record of rows, and several records as one
`cloudevents.py`       alerts, outliers, retrains, swaps: CloudEvents
`swap_event.py`        the data of a swap
`dead_letters.py`      dead letters: the record as it came, the reason in its headers
`times.py`             RFC 3339
=====================  ======================================================================

Open `window_codec.py` first: the windows topic is the monitoring history.
"""
