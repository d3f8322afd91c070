"""Which calls of the back end a step of a writer is.

They come in exactly this order, and no others. A step is one or a few calls, and the reading of what they list. Where
the program calls more than the model:

| step | besides |
|---|---|
| `list_index` | `ALARM`, if done records are known and one names an index file that is gone; also behind `LISTED` |
| `list_packs` | one call for each folder of packs, side by side |
| `list_snapshots`, `upload_snapshot`, `publish_nothing` | `LISTED`: what counts, and the next number |
| `list_fences`, `list_fences_after` | `runs`, if there is a fence, which has decided already |
| `list_condemned_after` | `tombstones`, if the snapshot is condemned, which has decided already |
| `upload_pack` | a pack of contents and a pack of lists |
| `report_failure` | an ended record, if the model creates one |
"""

LISTED = ("names snapshots", "names runs", "names ledgers", "names tombstones")
CALLS: dict[str, tuple[str, ...]] = {
    "create_run": ("create run",),
    "list_condemned": ("names condemned",),
    "list_index": ("names index",),
    "list_packs": ("list packs",),
    "list_snapshots": LISTED,
    "upload_pack": ("create pack", "create pack"),
    "upload_index": ("create index",),
    "upload_snapshot": (*LISTED, "create snapshot"),
    "publish_nothing": LISTED,
    "list_fences": ("names fences",),
    "list_runs": ("names runs",),
    "create_done": ("create done",),
    "list_fences_after": ("names fences",),
    "list_runs_after": ("names runs",),
    "list_condemned_after": ("names condemned",),
    "list_tombstones_after": ("names tombstones",),
    "say_ended": ("create ended",),
    "report_success": (),
    "report_failure": (),
    "report_nothing": ("create ended",),
    "restart": (),
    "verify that the packs exist": (),  # the model without rule 7
}
IF_FOUND = {
    "list_fences": "names runs",
    "list_fences_after": "names runs",
    "list_condemned_after": "names tombstones",
}
ALARM = ("names runs", "names ledgers", "names tombstones", "names index")
