"""The back end for an SSH account, over the system's own `ssh`.

Each module calls only those below it:

| module         | what for |
|---|---|
| `backend`      | the back end itself |
| `create`       | create a file: upload, count, sync, name |
| `pool`         | one login, and several channels through it |
| `session`      | the verbs of SFTP over one channel |
| `handles`      | files kept open for reading |
| `requests`     | requests and replies, many in flight |
| `ssh_sharing`  | several channels through one ssh |
| `deadline`     | how long a server may take |
| `packets`      | SFTP's packets and their fields |
| `ssh`          | the system's `ssh` as a child process |
| `ssh_settings` | what ssh is configured to do for a host |
"""
