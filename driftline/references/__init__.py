"""Files and stored state come in; references, what they contain, and acceptances of changes go out.

Open `build.py` first: rows of a good time -> references. Then:

- `write.py`: references -> a file. `contents.py`, `show.py`: what references contain, as values and as tables.
- `stored.py`: the judge's state as it was stored last. `accept.py`: open incidents -> the record that accepts them.
"""
