"""The bytes of format 1: records, packs, blocks and recipes, sealed and signed (docs/format.md).

Each module calls only those below it:

| module         | what for |
|---|---|
| `packs`        | packs: the files that hold blocks, and the signed tables of what is in them |
| `blocks`       | blocks: chunks joined, compressed and encrypted |
| `facts`        | the facts of a stream: what a format knows about it, in a shape that cannot do harm |
| `recipes`      | recipes: the tree of lists of chunk ids that puts a sequence together again |
| `record_files` | signed, encrypted record files: index, snapshots, runs and the like |
| `crypto`       | all cryptography of the store: key derivation, sealing of data keys, AEAD, signatures |
| `records`      | the structured records of format 1, as MessagePack maps |
| `compression`  | Zstandard with the sizes checked before anything is allocated (RFC 8878) |
| `layout`       | what the repository's files are called, how they begin, how large they may be |
"""
