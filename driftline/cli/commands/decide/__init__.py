"""Commands with which a person decides: one record on a topic goes out, and the judge or the retrainer acts on it.

Open `incident.py` first.
"""
