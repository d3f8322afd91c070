"""Commands about members and trust.

Each module calls only those below it:

| module  | what for |
|---|---|
| `init`  | `dedup init`: make a repository |
| `key`   | `dedup key`: who may write and read |
| `trust` | `dedup trust`: which repository this host believes |
"""
