"""What looks at the repository as a whole.

Each module calls only those below it:

| module        | what for |
|---|---|
| `check`       | looking at everything: is all there, is it what it says, would every backup come back? |
| `check_packs` | packs are read whole, several at once, and every byte of them is proven |
"""
