"""What record files say: which snapshots and index files exist, which count, and what is wrong with them.

Each module calls only those below it:

| module         | what for |
|---|---|
| `snapshots`    | which snapshots exist, which count, and what the next one must say |
| `alarms`       | what is wrong with the history: rollbacks, forks, missing index files |
| `deletion`     | what pruners have condemned, and which runs they fenced |
| `done_records` | which runs are done, and what was deleted lawfully |
| `index_files`  | keep the local cache in step with the index files and their packs |
| `closings`     | what counts of removed members |
| `verified`     | open and verify files that members signed, once each |

A file counts for what a member signed, never for its name, and only under the present roster.
"""
