"""Streams go in: read ahead, cut, looked up, packed, uploaded, indexed, and published as a snapshot.

Each module calls only those below it:

| module            | what for |
|---|---|
| `session`         | one run of a writer: streams go in, a snapshot comes out |
| `stream_writer`   | one stream on its way into the store: divided, cut, looked up, and listed |
| `sequence_writer` | the hot path |
| `checkpoints`     | runs that were killed |
| `pack_writer`     | the cold path |
| `read_ahead`      | a source is read ahead, by a thread of its own, while what was read before is worked on |
| `work_queue`      | one stage of work that several threads share |
| `writer_run`      | a run of a writer |
"""
