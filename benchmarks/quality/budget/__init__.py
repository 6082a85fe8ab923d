"""The false-alarm budget on simulated weeks: open __main__.py first, then trial.py, which judges one model.

In: a kind of stream (kinds.py) and changes made to it (changes.py). Out: incidents, delays and notifications (report.py).
"""
