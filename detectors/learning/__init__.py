"""Windows of a time when all was well -> references and their baselines.

In: windows, in order of time. Out: a `FeatureBaseline` for each feature.
Open `learner.py` first: it collects windows and decides when there are enough.

- `recording.py`: statistics of the windows, once their samples would take too much memory.
- `rollup_width.py`: how many windows of a feature are judged together.
- `fit_season.py`, `fit_baseline.py`, `fit_volume.py`: statistics of the windows -> the figures of a baseline.
"""
