"""The state of a model, or its configuration, comes in; what its thresholds follow from goes out, as values and sentences.

Open `thresholds.py` first: how each threshold follows from the budget of false alarms. `unbudgeted.py` says what a detector
without a budget is expected to add, before anything is judged. `join_room.py` says whether what waits for labels fits in memory.
"""
