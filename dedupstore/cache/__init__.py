"""The local index cache: what verified files said, kept so that it is found fast, and discarded at any doubt.

Each module calls only those below it:

| module          | what for |
|---|---|
| `index_cache`   | the cache itself: its tables, and what can be asked of them |
| `search`        | look chunks up: hints first, then the columns, which alone count |
| `all_hints`     | where to look for an id: recent hints in a table, all others in files |
| `column_files`  | ids and places of each pack's chunks, in the pack's order |
| `small_records` | done records, ledgers, tombstones and other small record files |
| `file`          | the LMDB file: opened safely, shared by processes, discarded when damaged |
| `hint_files`    | one sorted file of hints |
| `pages`         | hand mapped pages back to the system before they are many |
| `row_formats`   | the bytes of rows, and how an index file becomes rows |
| `walk`          | read every row of an LMDB file, in a process of its own |

`IndexCache` is the only entry.  It may be deleted at any time; a new one is built from the repository.  Other versions
need not read it: raise `row_formats.SCHEMA` when a row changes its meaning.
"""
