"""Where the streams of a backup come from.

Each module calls only those below it:

| module           | what for |
|---|---|
| `kinds`          | the kinds of source that the config file can name, one module each |
| `kind`           | what a kind of source provides, and what a run gives it |
| `whole_stream`   | streams that are stored whole every time: what commands and files have in common |
| `protocol`       | what sources, their streams and the report of a run look like |
| `plain_file`     | a plain file, read |
| `program`        | a program, whose standard output is read |
| `put`            | one stream into a session of the store: what it is, whether it is whole |
| `standard_input` | our standard input, read |
| `transfer`       | a stream on its way from its source into the store: time-outs, and stopping it |

A `[[source]]` of the config file becomes a `Source` in three steps, all found by its kind:

    config = kinds.parse(file, text)                    settings, or an error with the line
    root_parts = kind.keep_root(settings)               if root starts the run and another user does it
    sources = kinds.make_sources(config, RunContext(…))

A `Source` lists `Job`s, one a stream, and each stores its stream when the run says so, again if it failed.

To add a kind, say `sqlite`:

1. `kinds/sqlite.py`: a frozen dataclass of settings with `kind = "sqlite"` and `name`, and a subclass of `kind.Kind`
   that reads it (`read`) and makes its `Source` (`make`); `KIND` is an instance of it.  Where programs or files are
   read, `program.Command`, `plain_file.PlainFile` and `whole_stream.attempt` do the work.
2. Its row in the table of `kinds`, and its test: `tests/pipelines/sources/kinds/test_sqlite.py`.
3. Its section in docs/guide-run.md, and its example in data/dedup.toml.

Invariant: what reads a stream has `readinto(buffer) -> count`, which is 0 only at the end of a whole stream: whatever
failed raises `StreamError` instead.
"""
