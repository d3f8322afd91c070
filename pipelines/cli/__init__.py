"""The `dedup` command.

Each module calls only those below it:

| module      | what for |
|---|---|
| `__main__`  | so that `python -m pipelines.cli` is `dedup` |
| `entry`     | `main`: the one place where exceptions become messages and exit statuses |
| `commands`  | the commands |
| `group`     | the `dedup` group |
| `members`   | members of a repository, as `init`, `key` and `trust` show them |
| `progress`  | the bar that shows how far a stream is |
| `workspace` | what a command works with |
| `console`   | what is said to the user |
| `arguments` | what several commands are given: dates, and a stream of a date |
| `status`    | the exit statuses of `dedup` |
| `stop`      | signals that ask us to stop, as an exception |
| `usage`     | what wrong usage most likely meant: click says only what is wrong |

Invariant: stdout carries data or the answer and nothing else, and the exit status says how it went: 0 all good,
1 failed, 2 wrong usage, 3 some streams of a run failed (kept for that), 4 a check found damage, 128 + n stopped
by signal n.
"""

from pipelines.cli.entry import main

__all__ = ["main"]
