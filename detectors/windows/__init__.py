"""Rows of one source partition -> closed windows of event time. No window depends on a reference.

In: `Row` or `Block`, in offset order. Out: `Window` and `Mark`, as the windows topic carries them.
Open `windows.py` first: it holds the rules of time. The way of a value:

- `row.py`: an event, after decoding; `block.py`: rows of a model as columns.
- `part.py`: rows of a block that are in one window -> a `Column` for each feature.
- `feature.py`: a feature in a window: a numeric part, categories, missing values; `sample.py`: the numeric part.
- `record.py`: the closed window and the mark.

This room imports NumPy and msgspec only, so that a device at the edge can run it alone.
"""
