"""Where a stream's bytes come from; each source has `readinto(buffer) -> count`, which is 0 at the end.

Each module calls only those below it:

| module           | what for |
|---|---|
| `commands`       | streams that programs write |
| `files`          | the files of a folder as streams: dumps and tars that other programs leave there |
| `afs`            | AFS volumes as sources: full and incremental dumps |
| `plain`          | streams that are stored as they come |
| `protocol`       | the small protocol behind which the kinds of source stand |
| `file`           | a plain file as a source |
| `program`        | what a command writes to its standard output, as a source |
| `put`            | one stream into a session of the store: what it is, whether it is whole |
| `standard_input` | the standard input as a source, and what can be said of it before the first byte is read |
| `transfer`       | a stream on its way from its source into the store |

Invariant: a source that failed never reports an end: it raises `StreamError` instead.
"""
