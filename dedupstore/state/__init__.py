"""What this host must remember itself, in a private folder: it cannot be rebuilt from the repository.

Each module calls only those below it:

| module   | what for |
|---|---|
| `heads`  | the newest snapshot that this host has seen of each writer |
| `folder` | a private folder: small files that appear whole, and locks |
| `atomic` | new files: whole or not there at all, even if power fails |
"""
