"""State: what outlives a worker. The join's is a topic; the rest is in Redis, and can be made again from the topics.

In: the judge's state, references, the log of the join. Out: the same after a restart, or an error with the way out.

=======================  ================================================================
`store.py`               the one door to Redis: blobs, pointers, snapshots
`join_log.py`            what waits in the join, loaded from its topic
`signature.py`           HMAC of what is stored
`snapshot.py`            the judge's state as bytes; `array_codec.py` for its arrays,
                         `snapshot_upgrade.py` for snapshots of an older format
`references.py`          references in force, and reference sets that were taken over
`reference_file.py`      a reference set as a file
`binding.py`             to which Kafka, and which topics, the state belongs
`rebuild.py`             makes derived state again: `driftline rebuild`
=======================  ================================================================

Open `store.py` first.
"""
