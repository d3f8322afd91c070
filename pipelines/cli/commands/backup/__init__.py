"""Commands that store.

Each module calls only those below it:

| module| what for |
|---|---|
| `put` | `dedup put`: store one stream |
| `run` | `dedup run`: everything that the config file names, as cron does it every day |
"""
