"""Commands that run Driftline: options and settings come in; a running process, topics or files go out.

Open `worker.py` first: every process starts in the same way. First what it needs is checked, then its package is imported.
"""
