"""In which order the writer and the pruner take their steps, and how that changes when a rule is switched off."""

START = ("create_run", "list_condemned", "list_index", "list_packs")
FINISH = (
    "upload_pack",
    "upload_index",
    "upload_snapshot",
    "list_fences",
    "list_runs",
    "create_done",
    "list_fences_after",
    "list_runs_after",
    "list_condemned_after",
    "list_tombstones_after",
    "report_success",
)
PROGRAM = (
    "create_condemned",
    "list_condemned",
    "list_runs",
    "fence",
    "list_snapshots",
    "list_index",
    "list_packs",
    "decide",
    "create_tombstones",
    "delete_snapshots",
    "delete_index",
    "delete_packs",
    "delete_condemned",
)


def _move(steps: list[str], step: str, before: str) -> None:
    steps.remove(step)
    steps.insert(steps.index(before), step)


def writer_program(off: frozenset[str], parents: bool) -> tuple[str, ...]:
    """Return the writer's steps, with some rules off; `decide` is no step of its own."""
    start = [*START, *(["list_snapshots"] if parents else []), "decide"]
    finish = list(FINISH)

    if "3" in off:
        start = [step for step in start if step != "create_run"]
        finish.insert(0, "create_run")
    if "4.condemned-first" in off:
        _move(start, "list_condemned", "decide")
    if "4.fresh" in off:
        start = ["list_index", "list_packs", *(s for s in start if s not in ("list_index", "list_packs"))]
    if "4.parents" in off and "list_snapshots" in start:
        start = ["list_snapshots", *(s for s in start if s != "list_snapshots")]
    if "4.packs" in off:
        start.remove("list_packs")
    if "5.condemned" in off:
        start.remove("list_condemned")
    if "6.after-snapshot" in off:
        _move(finish, "list_fences", "upload_snapshot")
        _move(finish, "list_runs", "upload_snapshot")
    if "6.runs-last" in off:
        _move(finish, "list_runs", "list_fences")
    if "6.order" in off:
        _move(finish, "upload_snapshot", "upload_pack")
    if "8.runs-last" in off:
        _move(finish, "list_runs_after", "list_fences_after")
    if "8.tombstones-last" in off:
        _move(finish, "list_tombstones_after", "list_condemned_after")
    for rule, step in (
        ("6.fences", "list_fences"),
        ("6.runs", "list_runs"),
        ("8.fences", "list_fences_after"),
        ("8.runs", "list_runs_after"),
        ("8.condemned", "list_condemned_after"),
        ("8.tombstones", "list_tombstones_after"),
    ):
        if rule in off:
            finish.remove(step)
    return (*start, *finish)


def pruner_program(off: frozenset[str]) -> tuple[str, ...]:
    """Return the pruner's steps, with some rules off; `decide` is no step of its own."""
    steps = list(PROGRAM)

    if "11.condemn-first" in off:
        _move(steps, "create_condemned", "list_snapshots")
        _move(steps, "list_condemned", "list_snapshots")
    if "12.after-own" in off:
        _move(steps, "list_condemned", "create_condemned")
    if "12.list" in off:
        steps.remove("list_condemned")
    if "14.after-runs" in off:
        _move(steps, "list_snapshots", "list_runs")
    if "15.listed-last" in off:
        _move(steps, "list_index", "list_condemned")
        _move(steps, "list_packs", "list_condemned")
    if "16.tombstones-first" in off:
        _move(steps, "create_tombstones", "delete_condemned")
    if "16.condemned-last" in off:
        _move(steps, "delete_condemned", "delete_index")
    if "16.index-before-packs" in off:
        _move(steps, "delete_packs", "delete_index")
    if "16.snapshots-before-index" in off:
        _move(steps, "delete_snapshots", "delete_condemned")
    return tuple(steps)
