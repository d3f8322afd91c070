"""The bytes of format 1: records, packs, blocks and recipes, sealed and signed (docs/format.md).

Each module calls only those below it:

| module         | what for |
|---|---|
| `packs`        | the files that hold blocks, and the signed tables of what is in them |
| `blocks`       | chunks joined, compressed and encrypted |
| `facts`        | what a splitter knows about a stream, as plain values within bounds |
| `recipes`      | the tree of chunk ids that puts a sequence together again |
| `record_files` | signed, encrypted record files: index, snapshots, runs and the like |
| `crypto`       | all cryptography of the store |
| `pack_records` | records of packs: keys, places of blocks, signed tables, index files |
| `run_records`  | records of runs: snapshots, done records, ledgers, tombstones, closing lists |
| `records`      | what all records have in common: MessagePack maps, bounded |
| `compression`  | Zstandard, with sizes checked before anything is allocated |
| `layout`       | names, headers and size limits of files |

docs/format.md is the law: it changes first, the code after it.  What format 1 reads today it reads for good; a file of
a newer format is a `NewerFormatError`, never guessed at.
"""
