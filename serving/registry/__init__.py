"""The registry: model versions as signed blobs in Redis, and the pointer to the served version.

In: a trained model with its metadata (`Artifact`), and moves of the pointer.
Out: numbered versions, `Pointer`s, checked models.

Open `versions.py` first: it publishes, promotes, rolls back and loads. `artifact.py` is a version as bytes and back, with the
checks that a loaded model must pass.
"""
