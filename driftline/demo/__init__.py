"""The demo: options come in; the whole product runs on the example of examples/electricity/; words and one JSON object go out.

Open `run.py` first: from the first process to the last word. `stack.py` starts the processes as a user would, `story.py`
reads their topics, `report.py` says what happened, `view.py` draws it meanwhile.
"""
