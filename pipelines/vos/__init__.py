"""OpenAFS's `vos`: how it is run, how its output is parsed, and the helper that stays root for it.

Each module calls only those below it:

| module          | what for |
|---|---|
| `helper`        | a root process for `vos -localauth`, so that nothing else needs to be root |
| `helper_client` | `vos` through the root helper: the side that has no rights |
| `program`       | the volumes of a cell, through OpenAFS's `vos`: list, examine, clone, size, dump |
| `patterns`      | which volumes are selected, by patterns of their names |
| `process`       | a running `vos`: its output, its errors, its end |
| `encryption`    | whether `vos` sends a volume encrypted: to and from every server but this host |
| `listing`       | what `vos` prints about volumes, as values |
| `settings`      | how `vos` is run, and for which volumes |
| `privileges`    | root's rights: which files root may trust, and how the rights are given up for good |

As an ordinary user, or as root throughout:

    vos = Vos(VosSettings(servers=("fs1",), include=("user.*",)))
    for volume in vos.listing("fs1"): ...

As root that becomes another user, with the same methods:

    privileges.trusted(config_file)
    with helper.start(settings) as vos:      before any thread is started
        privileges.become("backup")

List first: the helper works only on volumes that it has listed itself.
"""
