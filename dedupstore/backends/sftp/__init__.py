"""The back end for an SSH account, over the system's own `ssh`.

Each module calls only those below it:

| module         | what for |
|---|---|
| `backend`      | the back end that keeps a repository in an SSH account, by SFTP |
| `create`       | how a new file gets into an SSH account |
| `pool`         | the sessions with one SSH account |
| `session`      | the verbs of SFTP |
| `handles`      | files that stay open for reading |
| `requests`     | SFTP requests and their replies over one connection |
| `ssh_sharing`  | how one ssh serves several channels |
| `deadline`     | how long a server may take |
| `packets`      | SFTP's packets and their fields |
| `ssh`          | the system's own `ssh` as a child process |
| `ssh_settings` | what ssh would do for a host |
"""
