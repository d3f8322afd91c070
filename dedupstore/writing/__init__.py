"""Store streams: read ahead, cut, look up, pack, upload, index, and publish a snapshot.

Each module calls only those below it:

| module            | what for |
|---|---|
| `session`         | one run of a writer: streams go in, a snapshot comes out |
| `stream_writer`   | one stream: divide, cut, look up and list its bytes |
| `sequence_writer` | the hot path: hash chunks, and collect new ones in blocks |
| `checkpoints`     | publish what killed runs had checkpointed |
| `pack_writer`     | the cold path: compress, encrypt, pack, upload and index |
| `read_ahead`      | read a source in a thread of its own |
| `work_queue`      | a queue for several threads, with marks: everything before is done |
| `writer_run`      | the rules for writers: run record first, done record last |

Use `Repository.session`; what is durable when is in docs/format.md 1, "Order of writing".
"""
