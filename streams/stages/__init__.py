"""Stages: what each agent does with the records of one partition.

===================  ==========================================  =============================================
file                 in                                          out
===================  ==========================================  =============================================
`join.py`            predictions and labels                      outcomes
`summarise.py`       events, or outcomes                         windows, marks, dead letters
`training_rows.py`   predictions with an id, of summarise         training rows
`judge.py`           windows, marks, decisions, acceptances      alerts, requests to retrain, references, ticks
`outliers.py`        events, references in force                 outlier events
`notify.py`          alerts, swaps                               calls of the sinks
===================  ==========================================  =============================================

Every stage follows streams/engine/stage.py and is opened from a `wiring.py`, which is what the stages of a worker share.
`ticking.py` belongs to the judge: it moves event time on where nothing comes. A `sink.py` is who gets alerts and
swaps; `webhook.py` is one.

Open `summarise.py` first: it is the shortest that shows all of it.
"""
