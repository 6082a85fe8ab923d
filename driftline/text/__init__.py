"""Words for people: numbers, times and rows come in, text goes out; and the texts that people write, as numbers.

Open `tables.py` first: what every command prints. `durations.py` and `moments.py` read what a person wrote, `nearest.py`
guesses what was meant, `wording.py` has the words that commands share, `progress.py` one line on a terminal.
"""
