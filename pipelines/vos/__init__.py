"""OpenAFS's `vos`: how it is run, asked and understood, and the helper that keeps root's rights.

Each module calls only those below it:

| module          | what for |
|---|---|
| `helper`        | a root process for `vos -localauth`, so that nothing else needs to be root |
| `helper_client` | `vos` through the root helper: the side that has no rights |
| `program`       | the volumes of a cell, through OpenAFS's `vos`: list, examine, clone, size, dump |
| `patterns`      | which volumes are meant, by patterns of their names |
| `process`       | a running `vos`: its output, what it reports, its end |
| `encryption`    | whether `vos` sends a volume encrypted: to and from every server but this host |
| `listing`       | what `vos` says about volumes, as values |
| `settings`      | which volumes a [[source]] of kind afs names, and how `vos` is to ask for them |
| `privileges`    | root's rights: what root may believe, and how they are given up for good |
"""
