"""Commands that give back.

Each module calls only those below it:

| module    | what for |
|---|---|
| `extract` | `dedup extract`: files and trees out of a stored volume or tar |
| `get`     | `dedup get` |
| `restore` | `dedup restore`: a stored volume back into AFS |
"""
