"""Throughput, latency, memory and growth of real worker processes, and what a deployment needs by these figures.

In: events that feeding.py writes to a real Kafka. Out: tables and one JSON object. Open first: throughput/ for one worker,
scale.py for two, scaling.py for the document that is computed from all of them.
"""
