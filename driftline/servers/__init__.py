"""Servers that Driftline starts as private children: a directory comes in, the address of a broker or a Redis goes out.

They are for the demo, for tests and for benchmarks. Each listens on 127.0.0.1 only, on a port of its own. Each keeps its
data in a directory of its own. Each ends when the process that started it ends, however that ended.

Open `server.py` first: what all of them have in common. `kafka_server.py` is a real Apache Kafka, `mock_broker.py` a small
one in memory, `redis_server.py` a Redis or Valkey. `child.py` and `leash.py` tie a child to its parent.
"""
