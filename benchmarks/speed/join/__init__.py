"""The join measured: rate, memory, disk, load after kill -9, a plain Faust table beside it, and where the time goes.

`python -m benchmarks.join` runs all of it. stream.py has the events, workers.py whole worker processes, memory.py and loading.py the
core alone in processes of their own, plain_faust.py the rival, parts.py the steps of a worker one by one.
"""
