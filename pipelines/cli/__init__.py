"""The `dedup` command.

| module | what for |
|---|---|
| `stop` | signals as an exception |
| `entry` | `main`: runs a command; signals, messages and exit statuses, all in one place |
| `group` | the options before the command, and the commands, each loaded only when it is called |
| `console` | what is said to the user: answers on stdout, everything else on stderr |
| `usage` | what wrong usage most likely meant |
| `workspace` | the repository, the trust and the keys that the settings name, opened when first used |
| `progress` | the bar on a terminal |
| `dating` | dates as arguments |
| `init`, `put`, `get`, `list`, `check`, `key`, `trust` | the commands |

Invariant: stdout carries data or the answer and nothing else, and the exit status says how it went: 0 all good,
1 failed, 2 wrong usage, 3 some streams of a run failed (kept for that), 4 a check found damage, 128 + n stopped
by signal n.
"""

from pipelines.cli.entry import main

__all__ = ["main"]
