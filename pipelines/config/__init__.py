"""The config file: found, read key by key, and every mistake named with its line.

Each module calls only those below it:

| module         | what for |
|---|---|
| `run_settings` | the sections of the config file that `dedup run` works by |
| `patterns` | names of volumes and files, by a shell's patterns |
| `rules`        | how the values of the config file look: texts, numbers, choices, lists |
| `config_file`  | where the repository |
| `sections`     | tables of the config file, read key by key |
| `lines`        | where in a config file a key stands: `tomllib` gives values without their lines |
"""
