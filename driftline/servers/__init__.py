"""Servers that Driftline starts as private children: a broker or a Redis for the demo and for tests.

All of them listen on 127.0.0.1 only, on a port of their own, keep their data in a directory of their
own, and are gone when the process that started them is gone, however it ended.
"""

from __future__ import annotations
