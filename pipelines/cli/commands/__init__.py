"""The commands, in groups; each module has a `command`, and is loaded only when it is called.

Each module calls only those below it:

| module    | what for |
|---|---|
| `backup`  | commands that store |
| `care`    | commands that look after the repository |
| `keys`    | commands about members and trust |
| `look`    | commands that show what is stored |
| `operate` | commands about this host's own set-up |
| `restore` | commands that give back |
"""
