"""Driftline's core: records of the windows topic in, alerts and requests to retrain out. No I/O, no clock, no globals.

A record goes through the rooms in this order; a room imports only the rooms before it:

============  =============================================================================  ================================
room          what comes in -> what goes out                                                 open first
============  =============================================================================  ================================
`windows`     rows of one source partition -> windows and marks, without any reference       `windows/windows.py`
`reference`   learned figures -> values that say what is normal                              `reference/feature_reference.py`
`measure`     a window and the references -> sums -> statistics                              `measure/measure.py`
`learning`    windows of a time when all was well -> references and baselines                `learning/learner.py`
`judging`     statistics -> scores -> alarms -> verdicts                                     `judging/judge.py`
`incidents`   verdicts -> alerts and requests to retrain; decisions come back                `incidents/incident.py`
`model`       records of the windows topic -> findings of one model; calls all rooms above   `model/model_monitor.py`
============  =============================================================================  ================================

Beside them: `spec.py` says what a user asks of a model, `statistics.py` names the statistics, `arrays.py` the types of arrays,
`identity.py` makes ids from causes, `errors.py` draws the tree of errors, and `outlier.py` looks at single events.
`spec.py` stands between `reference` and `measure`, because it holds a reference set.
The room `pairing` stands apart: a prediction and a label of one id -> what becomes of them. The join and replay use it; open
`pairing/pairing.py` first.
"""
