"""What flows into the store and out of it, and the `dedup` command.

In the order in which the bytes flow:

| module | what for | calls |
|---|---|---|
| `cli` | the `dedup` command: options, messages, exit statuses | everything below, `keys` |
| `config` | where the repository, the GPG home and the local state are | |
| `sources` | where a stream's bytes come from: standard input, a command | |
| `formats` | what a stream is, and whether it is whole | |
| `facts` | what is known of a stream beside its bytes | `dedupstore` |
| `put` | one stream into a session of the store | `sources`, `formats`, `facts`, `dedupstore` |
| `dates` | which snapshot is meant by a date and a name | |
| `get` | one stream out of the store, to a file or a pipe | `dedupstore` |
| `secrecy` | no memory of this process in a core dump | |
| `stream_names` | the order of streams, and the files that they become | |
| `mishap` | an error that nobody foresaw, in one line | |
| `listing` | sizes, names and tables as text and as JSON | `dates` |

Packages depend one way: `pipelines` → `keys` → `dedupstore`.
"""

VERSION = "0.1.0"
