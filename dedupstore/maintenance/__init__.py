"""Work on a repository as a whole.

Each module calls only those below it:

| module        | what for |
|---|---|
| `check`       | is everything there, is it what it says, can every backup be restored? |
| `check_packs` | read packs whole, several at once, and prove every byte of them |

Nothing here changes a repository.
"""
