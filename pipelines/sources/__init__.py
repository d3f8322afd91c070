"""Where a stream's bytes come from; each source has `readinto(buffer) -> count`, which is 0 at the end.

Each module calls only those below it:

| module           | what for |
|---|---|
| `kinds`          | the kinds of source, each in a module of its own |
| `kind`           | what a kind of source is: how its keys are read, what it needs, how its streams are found |
| `plain`          | streams that are stored whole every time: what commands and files have in common |
| `protocol`       | what a source, its streams and the report of a run look like |
| `file`           | a plain file as a source of bytes |
| `program`        | what a program writes to its standard output, as a source of bytes |
| `put`            | one stream into a session of the store: what it is, whether it is whole |
| `standard_input` | the standard input as a source of bytes |
| `transfer`       | a stream on its way from its source into the store: time-outs, and stopping it |

Invariant: a source that failed never reports an end: it raises `StreamError` instead.
"""
