"""What people and programs are shown of runs and of what is stored.

Each module calls only those below it:

| module    | what for |
|---|---|
| `summary` | what is said at the end of a run |
| `listing` | tables and JSON of what is stored |
"""
