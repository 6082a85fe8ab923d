"""`driftline replay`: the core over files, without Kafka, Redis or a key.

A row goes through the same steps as an event (docs/architecture.md): reader -> `Stretch` of blocks -> windows as
the bytes of the windows topic -> the model's watch -> the bytes of the alerts topic.

========================== =====================================================
`stretch.py`               what a reader hands over
`opened.py`                files and stdin, and how far they were read
`roles.py`                 which column is what
`cells.py`                 text of a CSV file -> values
`rows.py`                  columns of values -> a stretch
`csv_rows.py`              CSV -> stretches
`json_lines.py`            JSON Lines, of rows or of events -> stretches
`parquet.py`               Parquet -> stretches
`pairs.py`                 predictions and labels of events, by id
`windows_file.py`          a file of windows, written and read
`lane.py`                  blocks -> windows and marks, in the order of the rows that closed them
`replaying.py`             stretches or windows -> findings
`progress.py`, `report.py` what a person sees of it
========================== =====================================================
"""
