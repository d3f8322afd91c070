"""Tars: what they hold, name by name.

Each module calls only those below it:

| module   | what for |
|---|---|
| `reader` | what a tar holds: a walk from header to header that fetches contents only when asked |
| `sparse` | sparse files in a tar: where their data belong |
| `fields` | the fields of tar headers: numbers, extended headers; read from a stream with bounds |
"""
