"""Commands that show what is stored.

Each module calls only those below it:

| module | what for |
|---|---|
| `diff` | `dedup diff`: what changed in a volume from one date to another |
| `find` | `dedup find`: which dates hold which versions of a file |
| `list` | `dedup list`: what is stored |
| `ls`   | `dedup ls`: what is in a stored volume or tar |
"""
