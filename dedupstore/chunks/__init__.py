"""Cut bytes into chunks and name them; divide streams into what changes and what does not.  The hot loops are in C.

Each module calls only those below it:

| module      | what for |
|---|---|
| `chunker`   | cut bytes where their content says so |
| `ids`       | the ids of chunks, computed many at a time |
| `splitting` | the seam to formats: which bytes of a stream are skeleton, which content |

Cuts and ids belong to format 1 and never change: other ones would find nothing to deduplicate.
"""
