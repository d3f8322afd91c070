"""The store: streams of bytes, deduplicated, encrypted, and kept where they can be proved.

Each module calls only those below it:

| module        | what for |
|---|---|
| `repository`  | the store's one public face: what is listed, runs that write, streams that come back |
| `maintenance` | what looks at the repository as a whole |
| `writing`     | streams go in |
| `reading`     | streams come back: whole, walked, or some bytes here and there; every byte is verified |
| `core`        | what a repository that is open knows of itself |
| `history`     | what record files say |
| `context`     | a repository that is open |
| `cache`       | the local index cache |
| `format`      | the bytes of format 1 |
| `access`      | what the store must be given to work on a repository: plain keys, signers and settings |
| `backends`    | where the files of a repository lie: `open_backend` gives the back end for a URL |
| `chunks`      | bytes cut into chunks |
| `state`       | what this host remembers itself |
| `errors`      | every error that the store, the keys and the pipelines raise on purpose |
| `malloc`      | have the heap re-use the buffers of streams |
| `waiting`     | waits of the main thread, which signals end |

It knows bytes, chunks and raw keys; it knows nothing of AFS, databases or GPG.  docs/format.md is what it writes.

    with Repository(backend, members, unlock, state) as repository:
        with repository.session(details) as session:
            session.put("name", source)
            snapshot = session.finish()
        for stream in repository.streams(snapshot):
            for piece in repository.read(snapshot, stream):
                ...
"""
