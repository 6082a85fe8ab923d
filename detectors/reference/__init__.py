"""Values that say what is normal. They are learned in detectors/learning and change only by being replaced.

In: figures that were learned. Out: ranks, scores, expected values.
Open `feature_reference.py` first: quantiles and shares of one feature.

- `matrix.py`: the references of a segment as columns, so that one array operation serves all features.
- `season.py`: the value expected at a time of day or week; `local_time.py` and `holidays.py`: that time.
- `baseline.py`: the figures that turn a statistic into a standard score.
- `learned.py`: reference and baselines of one feature; `reference_set.py`: those of a whole model.
"""
