"""Files of rows, of events or of windows come in; stretches of rows or records of the windows topic go out.

Open `stretch.py` first: what every reader of rows gives. Then:

- `options.py`: what a user says of a file. `opened.py`: a file or stdin, and how far it was read.
- `roles.py`: which column is the time, the label, the prediction, the segment.
- `csv_rows.py`, `json_lines.py`, `parquet.py`: one reader for each form. `cells.py`: text of a CSV file -> values.
- `rows.py`: columns of values -> a stretch. `pairs.py`: predictions and labels of events, joined by id.
- `windows_file.py`: a file of windows, written and read.
"""
