"""State: what outlives a worker besides Kafka. All of it is in Redis, and can be made again from the topics.

In: the judge's state, references, waiting halves of outcomes. Out: the same after a restart, or an error with the way out.

=======================  ================================================================
`store.py`               the one door to Redis: blobs, pointers, snapshots, pending halves
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
