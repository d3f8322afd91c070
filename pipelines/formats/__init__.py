"""What streams are: an AFS volume dump, a tar, or just bytes.

Each module calls only those below it:

| module      | what for |
|---|---|
| `afs`       | AFS volume dumps: what they say, and how several become one |
| `tar`       | tars: what they hold, name by name |
| `entries`   | what a stream holds |
| `wholeness` | splitters that notice streams that were cut short, or are not what they should be |
| `acl`       | access lists of AFS directories: who has which rights |
| `detect`    | tell what a stream is by its first bytes |
| `splitters` | tell file contents from the rest |
| `stream`    | read a stream forward |
"""
