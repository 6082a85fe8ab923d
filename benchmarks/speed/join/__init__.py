"""The join measured: rate, memory, disk, load after kill -9, a plain Faust table beside it, and where the time goes.

`python -m benchmarks.join` runs all of it. stream.py has the events, and columns.py the same for the core alone.
workers.py runs whole worker processes. memory.py, loading.py, plain_faust.py and parts.py run in processes of their own,
which rooms.py starts. report.py has the figures, with what each must be.
"""
