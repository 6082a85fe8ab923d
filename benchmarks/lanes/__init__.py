"""When a benchmark runs: as a smoke test, in the quick lane or in the full lane.

In: the benchmarks of quality/, speed/ and exactness/, each a command that prints one JSON object as its last line.
Out: whether the figures of a quick form are within their bounds; the tables of a full form in docs/.
Open first: catalogue.py, the one table of all lanes. Then quick.py and full.py, which run it.

Rules:
1. `make test` runs a smoke test of each benchmark (tests/benchmarks/): at most 15 s, and no figure is looked at.
2. `make quick` runs the quick forms, one after another, in 35 minutes at most. What it checks is the same for the same seed, or
   counts memory or CPU time. Time by the clock decides nothing.
3. `make full-NAME` runs a full form by hand, 60 minutes at most, and writes its table into docs/.
"""
