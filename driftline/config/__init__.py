"""Configuration: `driftline.toml` and the environment come in, `Settings` go out; or every fault at once, a line each.

Open `load.py` first: the whole way from text to settings. Then:

- `schema.py`: every table and key, and the field that it fills.
- `checks.py`: what one value must look like.
- `old_keys.py`: keys that have a new name.
- `faults.py`: the sentence of a fault, with its place and a way out.
- `secret_files.py`, `reference_files.py`: the files that the configuration names.
"""
