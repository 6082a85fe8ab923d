"""The engine: whatever is killed, each record counts once.

In: fetches of Kafka. Out: batches to the stages; their messages, acknowledged; offsets that may be committed.

Open `lanes.py` first: its rules are the promise. A batch comes from `transport.py` (Faust's driver with epochs),
which has it from `fetch.py` (a fetch in columns). `lost_batches.py` notices a batch that Faust dropped, and
`start_offsets.py` says where reading begins. A stage is what `stage.py` describes: it collects messages in an
`outbox.py` and gives them away with a `checkpoint.py`.
"""
