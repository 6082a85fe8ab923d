"""Stages: what each agent does with the records of one partition.

=======================  ==========================================  =============================================
file                     in                                          out
=======================  ==========================================  =============================================
`join.py`                predictions and labels                      outcomes, chunks of the log of the join
`summarise.py`           events                                      windows, marks, dead letters
`summarise_outcomes.py`  outcomes                                    windows, marks, dead letters
`training_rows.py`       predictions with an id, of summarise        training rows
`judge.py`               windows, marks, decisions, acceptances      alerts, requests to retrain, references, ticks
`outliers.py`            events, references in force                 outlier events
`notify.py`              alerts, swaps                               calls of the sinks
=======================  ==========================================  =============================================

Every stage follows streams/engine/stage.py and is opened from a `wiring.py`, which is what the stages of a worker share.
`join_start.py` says how a join begins, `outcome_columns.py` makes its records, and `join_gauges.py` shows what waits.
`ticking.py` belongs to the judge: it moves event time on where nothing comes. A `sink.py` is who gets alerts and
swaps; `webhook.py` is one.

Open `summarise.py` first: it is the shortest that shows all of it.
"""
