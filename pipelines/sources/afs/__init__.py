"""AFS volumes as sources: full and incremental dumps.

Each module calls only those below it:

| module         | what for |
|---|---|
| `volumes`      | AFS volumes: listed, cloned, and dumped straight into the store |
| `decide`       | one volume |
| `missing`      | what a source of volumes had and has no more, and whether it takes anything at all |
| `history`      | what this writer has stored of each AFS volume |
| `schedule`     | when a volume is dumped in full |
| `vnodes`       | what the vnodes of a dump and those that are stored of the volume tell of each other |
| `volume_state` | what this host remembers of each volume: its vnodes as they were dumped last |
"""
