"""`driftline replay`: stretches of rows, or records of the windows topic, come in; the alerts that they raise go out.

Neither Kafka nor Redis nor a key is needed. A row goes the way of an event (docs/architecture.md): blocks -> windows, as
bytes of the windows topic -> the model's monitor -> alerts, as bytes of the alerts topic.

Open `replaying.py` first: the judge over a file. Then:

- `lane.py`: blocks -> windows and marks, in the order of the rows that closed them.
- `reading.py`: opens what the user named, and feeds it. `run.py`: prints what follows.
- `report.py`: what a person reads at the end.
"""
