"""`dedup run`: everything that the config file names goes into the store, as one snapshot.

| module | what for |
|---|---|
| `jobs` | the protocol of a source, its jobs, and what is said of each stream |
| `engine` | jobs a few at a time, retries, checkpoints, signals; one snapshot |
| `transfer` | a stream on its way into the store: time-outs, and stopping it from outside |
| `volumes`, `commands` | the two kinds of source |
| `history` | what is stored of each volume: parents, their fulls, what is gone |
| `schedule` | when a volume is dumped in full |
| `lock` | one run at a time on a host |
| `summary` | what is said at the end: a table, a page for mail, JSON |

Invariant: a stream that fails costs only itself, and is named in the summary and by the exit status.
"""
