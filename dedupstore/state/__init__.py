"""What this host remembers itself, in a private folder: it is no cache, and is not made again from the repository.

Each module calls only those below it:

| module   | what for |
|---|---|
| `heads`  | the newest snapshot that this host has seen of each writer |
| `folder` | a private folder of this host's own state: small files that appear whole, and locks |
| `atomic` | files that appear whole or not at all, and folders synced to the disk |
"""
