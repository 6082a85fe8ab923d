"""The commands: a folder for each section of `driftline --help`, a file for each command, in it the click command `command`.

`run` starts processes and prepares their servers. `look` reads and changes nothing. `decide` writes one request or
decision to Kafka. `models` is about stored models and references. A file imports what its command needs; numpy and River
only inside the function where that would keep `--help` waiting.
"""
