"""Streams that are stored: their names, dates, facts, and what they build on.

Each module calls only those below it:

| module   | what for |
|---|---|
| `chains` | what an incremental dump builds on |
| `dates`  | dates as people type them, and the snapshots that they mean |
| `facts`  | what is known of a stream beside its bytes |
| `names`  | names of streams |
"""
