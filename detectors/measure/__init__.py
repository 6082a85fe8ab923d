"""A window and the references -> sums -> statistics.

In: `Feature` by name, and a `ReferenceMatrix`. Out: `WindowSums`, which add up over sources and over time, and `Measures`.
Open `measure.py` first: its table says what each statistic is.

- `sums.py`: parts of a bucket -> sums; `binning.py`: mid-quantiles -> counts of bins.
- `rollup.py`: sums of neighbouring windows, merged upwards (a roll-up).
- `batches.py`: many windows at once, for a reference that is being learned.
"""
