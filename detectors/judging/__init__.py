"""Room judging: statistics of a window -> scores -> verdicts.

In: windows of one segment. Out: verdicts. Begin with `judge.py`; it uses `scores.py` (standard scores), `monitors.py` (alarms
and their dates), `recovery.py` (their end), `codrift.py` (which features changed together) and `verdict.py` (words). `kinds.py`
says what differs between features and outcomes, `detectors.py` which detectors there are, `budget.py` and `shares.py` how
thresholds follow from the budget.
"""
