"""`dedup run`: everything that the config file names goes into the store, as one snapshot.

Each module calls only those below it:

| module       | what for |
|---|---|
| `engine`     | the run itself: jobs a few at a time, retries, checkpoints; one snapshot at the end |
| `lock`       | one run at a time on a host |
| `privileges` | who does what in a run that root started |
| `workers`    | the threads in which jobs run, and the watch over the flows that they have open |

Invariant: a stream that fails costs only itself, and is named in the summary and by the exit status.
"""
