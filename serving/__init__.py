"""Serving: model versions in Redis, and an HTTP service that answers with the promoted version.

In: requests over HTTP; the pointer and the versions in Redis.
Out: answers; each answer and each label as an event (topic events).

Rooms, each imports only from those before it: `registry/` (versions and the pointer), `live.py` (the version that this process
answers with), `http/` (routes, bodies, the process).
Open `live.py` first: a swap without a pause is its work.
"""
