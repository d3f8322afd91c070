"""GPG's part: who belongs to a repository, what each of them may know, and which rosters this host believes.

Each module calls only those below it:

| module    | what for |
|---|---|
| `members` | what the commands ask for: make a repository, open it, let someone in, put someone out |
| `stored`  | what a roster names by its hash |
| `trust`   | the pins of this host |
| `chain`   | the chain of rosters: which files there are, and which of them are believed |
| `slots`   | slots: a member's secrets, wrapped to that member's GPG key |
| `roster`  | rosters: who belongs to a repository, signed by an admin, each naming the one before it |
| `gpg`     | the user's own GPG: which keys there are, and what needs a secret one |
| `public`  | what gpg does with public keys alone |
| `driver`  | how `gpg` is started, by way of python-gnupg, and what it reports |
| `refused` | roster files that gpg refused |
| `unknown` | what a newer program wrote into a map |

The store gets plain values from here (`dedupstore.access.Access`) and never sees GPG.  GPG does two things only: it
wraps each member's slot, and it signs rosters.

Invariant: no secret leaves a slot but inside an `Access`; none is ever in a log, a `repr`, an error or a command line.
"""
