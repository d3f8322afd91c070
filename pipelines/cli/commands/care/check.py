"""`dedup check`: look for damage."""

import click

from dedupstore.errors import DamageError
from pipelines import text
from pipelines.cli.progress import counter
from pipelines.cli.status import ExitStatus
from pipelines.cli.workspace import Workspace
from pipelines.reports.listing import to_json
from pipelines.text import count

NOT_READ = "contents not read (use --read-data)"


@click.command
@click.option("--read-data", is_flag=True, help="Read and verify every stored byte, too.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_obj
def command(workspace: Workspace, read_data: bool, as_json: bool) -> int:
    """Check that every file is there and that every backup can be restored. Exit status 4: damage.

    With an admin's key, --read-data also opens every block and verifies every chunk; a writer's key can only
    compare the files with their SHA-256.
    """
    from keys import stored

    console = workspace.console
    with workspace.repository(reading=True) as repository:
        with counter(console) as report:
            named = stored.damaged(
                workspace.backend, workspace.trust.believe(workspace.backend, workspace.url)
            )
            try:
                result = repository.check(read_data=read_data, report=report)
            except DamageError as error:
                for line in (*named, str(error)):
                    console.fail(line)
                return ExitStatus.DAMAGE
        damaged = list(dict.fromkeys((*named, *result.damaged, *repository.damage)))
        # They were found on the way, and are reported below.
        repository.damage.clear()
        repository.alarms.clear()
        repository.newer.clear()
    if as_json:
        answer = {
            "damaged": damaged,
            "warnings": [*result.warnings, *([] if read_data else [NOT_READ])],
            "snapshots": result.snapshots,
            "streams": result.streams,
            "files": result.files,
            "bytes": result.bytes,
            "chunks": result.chunks,
        }
        console.answer(to_json(answer))
    else:
        console.answer("".join(f"damaged: {text.safe(line)}\n" for line in damaged))
        for line in result.warnings:
            console.warn(line)
        if not read_data:
            console.say(NOT_READ if damaged else f"all files present; {NOT_READ}")
    console.say(
        f"looked at {count(result.snapshots, 'snapshot')} with {count(result.streams, 'stream')}, "
        f"{count(result.files, 'file')} of {text.size(result.bytes)}"
    )
    if damaged:
        console.fail(f"{count(len(damaged), 'finding')} of damage; restore those files from another copy")
        return ExitStatus.DAMAGE
    console.say("no damage found")
    return 0
