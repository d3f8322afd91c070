"""The config file: found, read key by key, and every mistake reported with its line.

Each module calls only those below it:

| module         | what for |
|---|---|
| `run_settings` | [run], [schedule] and the list of [[source]] tables: what `dedup run` needs |
| `patterns`     | names of volumes and files, selected by shell patterns |
| `rules`        | which values a key accepts: strings, numbers, choices, lists |
| `config_file`  | the keys outside tables, and what replaces them: options, environment, defaults |
| `sections`     | tables of the config file, read key by key |
| `lines`        | where in a config file a key stands: `tomllib` gives values without their lines |

Every command calls `config_file.load`.  `dedup run` and `dedup config check` also read the tables, through
`pipelines.sources.kinds.parse`, which adds what each kind of source knows of its own keys.  A table is read like this:

    parallel = section.take("parallel", rules.number(1, 64, "streams"), 2)      optional, with its default
    folder = section.need("folder", rules.FOLDER)                               required
    section.finish()                                                            any other key is an error

Nothing here knows a kind of source.  No key is renamed after 0.1: a new one is added, and the old one still accepted.
"""
