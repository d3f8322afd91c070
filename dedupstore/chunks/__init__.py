"""Bytes cut into chunks, named, and divided into what changes and what does not; the hot loops are in C.

Each module calls only those below it:

| module      | what for |
|---|---|
| `chunker`   | cut a stream of bytes into chunks where its content says so |
| `ids`       | which chunk is it?  The ids of many chunks, for those who store and those who verify |
| `splitting` | the seam between the store and formats |
"""
