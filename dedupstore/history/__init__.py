"""What record files say: which snapshots and index files there are, which count, and what is wrong with them.

Each module calls only those below it:

| module        | what for |
|---|---|
| `snapshots`   | snapshots: which there are, which of them count, and what the next one must say |
| `alarms`      | alarms: what is wrong with the history of snapshots |
| `deletion`    | what pruners publish |
| `done_records` | which runs are done, and what was deleted lawfully: done records, ledgers and tombstones |
| `index_files` | index files |
| `closings`    | closing lists: what counts of members that were removed |
| `verified`    | files that members signed are opened and verified once each |
"""
