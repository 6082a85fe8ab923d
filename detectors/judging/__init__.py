"""Statistics of a window -> scores -> alarms -> verdicts.

In: the windows of one segment, bucket by bucket. Out: a `Verdict` for each alarm, with its words.
Open `judge.py` first: it calls all others in order.

- `scores.py`: statistics -> standard scores.
- `budget.py`: false alarms a week -> thresholds; `shares.py`: who shares the budget.
- `monitors.py`: scores -> alarms and their dates; `recovery.py`: their end; `detectors.py`: River's detectors by name.
- `kinds.py`: what differs between features and outcomes, as a table.
- `codrift.py`: features that changed together with an alarm.
- `verdict.py`: an alarm in words; `stock_rates.py`: false alarms of detectors without a budget.
"""
