"""Commands about this host's own set-up.

Each module calls only those below it:

| module   | what for |
|---|---|
| `config` | `dedup config`: is the config file understood, and what can be in it |
"""
