"""This project beside its peers, on the same bytes, in the same rounds: `python -m bench.peers --help`.

Each module calls only those below it:

| module     | what for |
|---|---|
| `__main__` | the command line, and the rounds |
| `plot`     | a picture of figures |
| `report`   | tables of figures |
| `wins`     | where a peer is better |
| `parts`    | what is measured, part by part |
| `copy`     | a plain copy over SFTP, as the limit |
| `bench`    | what a part needs: tools, work, and where figures go |
| `work`     | a week of backups, made or given |
| `tools`    | the tools, each with its command lines |
| `borg`     | those of borg, in its versions |
| `tool`     | what every tool must be able to do |
| `steps`    | the steps in words, and what is expected of each |
| `results`  | figures by step and tool, in a file |
| `measure`  | one command: wall time, CPU time, peak memory |
| `ssh`, `install`, `machine` | a server near or far; programs to compare; what it is measured on |
"""
