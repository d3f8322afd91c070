"""The local index cache: what verified files said, kept so that it can be found fast, and thrown away at any doubt.

Each module calls only those below it:

| module          | what for |
|---|---|
| `index_cache`   | the local index cache |
| `search`        | looking chunks up in the index cache |
| `all_hints`     | the hints of all domains |
| `column_files`  | the columns of packs |
| `small_records` | small record files in the index cache |
| `file`          | one LMDB file in a private folder |
| `hint_files`    | files of hints |
| `pages`         | pages of a mapped file are handed back to the system before they are many |
| `row_formats`   | what the rows of the index cache look like, and how an index file becomes rows |
| `walk`          | every row of an LMDB file is read, in a process of its own |
"""
