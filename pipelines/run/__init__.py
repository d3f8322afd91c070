"""`dedup run`: everything that the config file names goes into the store, as one snapshot.

| module | what for |
|---|---|
| `jobs` | the protocol of a source, its jobs, and what is said of each stream |
| `engine` | retries, checkpoints, signals; one snapshot |
| `workers` | the threads in which jobs run, a few at a time |
| `transfer` | a stream on its way into the store: time-outs, and stopping it from outside |
| `sources` | from the config file to the kinds of source: `volumes`, `commands`, `files` (`plain`: both of these) |
| `history` | what is stored of each volume: parents, their fulls, what is gone |
| `missing` | volumes that are gone, and a source that takes none |
| `schedule` | when a volume is dumped in full |
| `privileges` | what stays root's in a run that root started |
| `lock` | one run at a time on a host |
| `summary` | what is said at the end: a table, a page for mail, JSON |

Invariant: a stream that fails costs only itself, and is named in the summary and by the exit status.
"""
