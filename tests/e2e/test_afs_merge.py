"""Merged dumps in a real AFS cell: restoring one is the same as restoring the full dump and each incremental in turn.

In one test the volume server takes the incrementals of a model, in the other it also makes them itself.
"""

import random
import time
from collections.abc import Sequence

import pytest

from pipelines.formats.afs.merge import merge
from pipelines.formats.afs.tree import entries
from tests.afsdump import parse, same_volume
from tests.pipelines.formats.afs.model import Volume, history
from tests.pipelines.formats.afs.pieces import PieceStream
from tests.servers.afs_cell import AfsCell


def merged(dumps: Sequence[bytes]) -> bytes:
    return b"".join(merge([PieceStream(dump) for dump in dumps]))


def restore_in_turn(cell: AfsCell, volume: str, dumps: Sequence[bytes]) -> None:
    into = (cell.server, cell.partition, volume)
    cell.vos("restore", *into, stdin=dumps[0])
    for dump in dumps[1:]:
        cell.vos("restore", *into, "-overwrite", "incremental", stdin=dump)


def dumped(cell: AfsCell, volume: str) -> bytes:
    return cell.vos("dump", volume).stdout


@pytest.mark.parametrize("seed", range(12))
def test_a_merged_dump_restores_to_what_its_parts_restore_to(afs_cell: AfsCell, seed: int) -> None:
    volume, made = history(seed, 2 + seed % 4, edits=60)
    dumps = [b"".join(head + content for head, content in parts) for parts in made]
    restore_in_turn(afs_cell, f"turn.{seed}", dumps)
    restore_in_turn(afs_cell, f"merge.{seed}", [merged(dumps)])

    in_turn, at_once = (dumped(afs_cell, f"{kind}.{seed}") for kind in ("turn", "merge"))
    assert [] == same_volume(in_turn, at_once)
    assert [] == same_volume(volume.dump(), at_once)


def test_the_salvager_finds_nothing_to_repair_in_a_merged_dump(afs_cell: AfsCell) -> None:
    _, made = history(9, 4, edits=60)
    dumps = [b"".join(head + content for head, content in parts) for parts in made]
    restore_in_turn(afs_cell, "merge.salvaged", [merged(dumps)])
    assert [] == afs_cell.salvager_complaints("merge.salvaged")


@pytest.mark.parametrize("seed", range(6))
def test_dumps_of_the_volume_server_itself_merge_to_its_full_dump(afs_cell: AfsCell, seed: int) -> None:
    """The edits arrive in the volume as incrementals of the model; by their times the server dumps."""
    chance = random.Random(seed)
    name = f"own.{seed}"
    model = Volume(now=int(time.time()) - 100_000)
    since, made = 0, []
    for _ in range(4):
        for _ in range(40):
            model.now += 1
            model.edit(chance)
        if since:
            into = (afs_cell.server, afs_cell.partition, name)
            afs_cell.vos("restore", *into, "-overwrite", "incremental", stdin=model.dump(since))
        else:
            restore_in_turn(afs_cell, name, [model.dump()])
        afs_cell.vos("backup", name)
        options = ["-omitdirs"] if chance.random() < 0.5 else []
        time_option = ["-time", str(since)] if since else []
        made.append(afs_cell.vos("dump", "-id", f"{name}.backup", *time_option, *options).stdout)
        since = model.now - chance.choice([0, 3])
        model.now += 1000

    assert any(not fields for fields in parse(made[-1]).vnodes.values())
    full = dumped(afs_cell, f"{name}.backup")
    assert full == merged(made)
    assert model.paths().keys() == {entry.path for entry, _ in entries(*map(PieceStream, made))}
    restore_in_turn(afs_cell, f"{name}.r", [merged(made)])
    assert [] == same_volume(full, dumped(afs_cell, f"{name}.r"))
