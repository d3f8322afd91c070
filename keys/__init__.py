"""GPG's part: who belongs to a repository, what each of them may know, and which rosters this host believes.

The store gets plain values from here (`dedupstore.access.Access`) and never sees GPG.  GPG does two things only: it
wraps each member's slot, and it signs rosters.

| layer   | what it owns                                             | may call            |
|---------|----------------------------------------------------------|---------------------|
| members | init, unlock, add, remove: what the commands ask for     | all below           |
| stored  | whether what the roster names is there unharmed          | chain               |
| trust   | the pins of this host: which roster is believed          | chain, refused, gpg |
| chain   | which roster files follow from which                     | roster, refused     |
| refused | the roster files that gpg refused on this host           | nothing of ours     |
| slots   | a member's secrets, made, wrapped and opened             | roster, gpg, public |
| roster  | the signed list of members: its format and signature     | gpg, public         |
| unknown | keeps what only a newer program knows                    | nothing of ours     |
| gpg     | the user's GPG: keyring, agent, cards                    | public, driver      |
| public  | public keys alone: verify, encrypt                       | driver              |
| driver  | the `gpg` program: how it is run, what it reports        | nothing of ours     |

Invariant: no secret leaves a slot but inside an `Access`; none is ever in a log, a `repr`, an error or a command line.
"""
