"""Out of the store: a stream, a date, single files, a volume back into AFS.

Each module calls only those below it:

| module        | what for |
|---|---|
| `differences` | what changed in a volume from one date to another: what `dedup diff` shows |
| `versions`    | which dates hold which version of a file: what `dedup find` shows |
| `volume`      | a stored volume back into AFS, under a new name or in the place of what is there |
| `extract`     | files and trees out of a volume or a tar: into a folder, or as a new tar |
| `browse`      | what is in a stored stream |
| `get_all`     | everything of a date out of the store |
| `to_afs`      | a running `vos restore` |
| `get`         | a stream's bytes out of the store, to a pipe or to a file |
| `neighbours`  | paths that were asked for and are not there |
| `hard_links` | which file each hard link of a walk is a name of |
"""
