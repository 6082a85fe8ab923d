"""Two versions of Driftline, before and after a change, and the same bytes from both.

    python -m benchmarks.same_bytes --before OLD/.venv/bin/driftline [--after .venv/bin/driftline] [--out DIR]

The same inputs go through both executables, and of what each says there are SHA-256 digests. With `--after`
alone they are printed and held against nothing. The last line is one JSON object; the exit status is 0 if
everything is the same.

| file | what |
|---|---|
| executable | one of the two: a command run to its end, its versions |
| prints | fingerprints: named lists of records, and the digest of each |
| log, workers, deployment, broker, left | a log through workers on a real Kafka and Redis, and what they left |
| stage | one version with one input |
| replays | files through `driftline replay`, in every format |
| electricity, goods, shops, segments | these files, and the configuration of each |
| state | what one version has stored, and the other reads |
| comparing | the table and the JSON object |

Rules:
1. Configurations have the keys of before, which after reads as aliases. Its log lines that say so are no part of a digest.
2. Inputs are written once, by this process, and both executables read the same files.
3. What may differ between two runs of one version is no part of a digest: which outcomes' windows had which
   offsets, ticks, the order of alerts about features and about errors, single outliers.
4. A digest of nothing proves nothing: an input that raises no alert is a fault.
5. What after refuses to read is told with its message, and is not the same.
6. Time decides nothing. What waits gives up only when nothing has moved for minutes.
"""
