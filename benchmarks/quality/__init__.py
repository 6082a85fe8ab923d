"""What is detected, how soon, and how many alarms are false: on real series, on labelled rows and on simulated weeks.

In: series, rows or simulated events. Out: tables with floors, and one JSON object. Open first: scoring.py, which says how alarms
are counted; then the benchmark of interest: budget/ (simulated weeks), seasonal.py, points.py, injected.py, stock.py.
"""
