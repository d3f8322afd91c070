"""What flows into the store and out of it, and the `dedup` command.

Each module calls only those below it:

| module    | what for |
|---|---|
| `cli`     | the `dedup` command |
| `run`     | `dedup run`: everything that the config file names goes into the store, as one snapshot |
| `restore` | out of the store: a stream, a date, single files, a volume back into AFS |
| `reports` | what people and programs are shown of runs and of what is stored |
| `sources` | where a stream's bytes come from |
| `vos`     | OpenAFS's `vos` |
| `config`  | the config file: found, read key by key, and every mistake named with its line |
| `streams` | streams that are stored: their names, dates, facts, and what they build on |
| `output`  | where bytes go: pipes, new files, trees and tars |
| `formats` | what streams are: an AFS volume dump, a tar, or just bytes |
| `mishap`  | what a stream's failure costs: nothing but that stream, whatever was raised |
| `secrecy` | keeps the keys that are in this process's memory out of core dumps |
| `text`    | sizes, parts and names, as they are shown to people |
"""

VERSION = "0.1.0"
