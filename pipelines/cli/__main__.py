"""So that `python -m pipelines.cli` is `dedup`."""

from pipelines.cli.entry import main

main()
