"""Commands that look: a configuration, a file or the state in Redis comes in, tables and sentences go out.

Nothing is written but to stdout, stderr, and a file that the user names. Open `check.py` first.
"""
