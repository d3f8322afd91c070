"""`dedup run`: store everything that the config file names, as one snapshot.

Each module calls only those below it:

| module       | what for |
|---|---|
| `engine`     | the run itself: jobs a few at a time, retries, checkpoints; one snapshot at the end |
| `lock`       | one run at a time on a host |
| `privileges` | a run that root started: what stays root, and how the rest becomes another user |
| `workers`    | the threads in which jobs run, and the time-outs of their open flows |

A run, as `dedup run` does it:

    with privileges(config, state) as root_parts:           before anything from the network, and any thread
        sources = make_sources(config, RunContext(…, root_parts))
        with only_run(state):
            report = Engine(repository, sources, config.run, details).run()

The engine knows sources, jobs and lines of `sources.protocol`, and no kind of source.

Invariant: a stream that fails affects no other; it is named in the summary, and the exit status shows it.
"""
