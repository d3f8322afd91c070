"""The store: streams of bytes, deduplicated, encrypted, and kept where they can be proved.

Each module calls only those below it:

| module        | what for |
|---|---|
| `repository`  | the public face: list snapshots, store streams, read and check them |
| `maintenance` | check a whole repository, down to every byte |
| `writing`     | store streams: read, cut, deduplicate, compress, encrypt, upload, publish |
| `reading`     | read streams back: whole, forward, or at any place; every byte is verified |
| `core`        | the state of an open repository: what is listed, indexed, condemned and lost |
| `history`     | what record files say: which snapshots count, which index files exist, what is wrong |
| `context`     | what everything that works on an open repository shares |
| `cache`       | the local index cache: which chunks are stored, and where |
| `format`      | the bytes of format 1: records, packs, blocks and recipes |
| `access`      | what the store needs: plain keys, signers and settings |
| `backends`    | where the files of a repository lie: a folder, or an SSH account |
| `chunks`      | cut bytes into chunks, and name them |
| `state`       | what this host must remember, and files that survive a power failure |
| `errors`      | all errors that are raised on purpose |
| `malloc`      | make the heap reuse the buffers of streams |
| `waiting`     | waits of the main thread that signals can end |

It knows bytes, chunks and raw keys; it knows nothing of AFS, databases or GPG.  How to use it:

    with Repository(open_backend(url), members, unlock, StateFolder(path)) as repository:
        with repository.session(RunDetails(host, program, time, utc_offset)) as session:
            session.put("name", source)  # from several threads, if you like
            snapshot = session.finish()  # before this, nothing is listed
        for snapshot in repository.snapshots():
            for stream in repository.streams(snapshot):
                for piece in repository.read(snapshot, stream):
                    ...

`members` and `unlock` come from package `keys`.  Callers catch `errors.DedupError`, or a subclass: its text says what
failed and what to do.  `alarms`, `damage` and `newer` of a repository hold what is wrong with it; show them.

What stays compatible: the bytes in a repository, as docs/format.md defines them.  The local cache and the names of this
package may change with any version; a cache of another version is rebuilt.
"""
