"""Commands that look after the repository.

Each module calls only those below it:

| module  | what for |
|---|---|
| `check` | `dedup check`: look for damage |
"""
