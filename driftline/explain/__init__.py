"""The state of a model, its configuration or the log of its join comes in; reasons go out, as values and sentences.

Open `thresholds.py` first: how each threshold follows from the budget of false alarms. `unbudgeted.py` says what a detector
without a budget is expected to add, before anything is judged. `join_room.py` says whether what waits for labels fits in memory.
`join.py` says what waits in each partition, and `join_id.py` what became of one id.
"""
