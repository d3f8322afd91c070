"""A stored volume back into AFS, under a new name or in the place of what is there.

Invariant: `vos restore` is started only when all that can be checked beforehand was: the chain of dumps, that it
merges, that each of its chunks is at hand, name, place and space.  What a failure leaves of a new volume is removed,
and nothing else ever is.  Of a volume that is replaced a clone is made first, and every byte of what replaces it is
read and verified before that.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from dedupstore.errors import DedupError, StreamError
from pipelines.restore.to_afs import Site, Vos
from pipelines.streams import chains
from pipelines.streams.chains import Link
from pipelines.text import safe, size
from pipelines.vos.encryption import encryption
from pipelines.vos.listing import OK, READ_WRITE, Volume, VosError

if TYPE_CHECKING:
    from dedupstore.repository import Repository

# OpenAFS src/volser/vos.c, ISNAMEVALID and VolNameOK: room for `.readonly` in 32 bytes, and no such ending
_NAME = re.compile(r"(?!-|\d+\Z)[A-Za-z0-9._-]{1,22}")
_TAKEN_ENDINGS = (".backup", ".readonly")

Progress = Callable[[int], None]


class Target(NamedTuple):
    """The volume to make: its name and place, and the volume that it replaces, if any."""

    name: str
    site: Site
    replaced: Volume | None


def check_name(name: str) -> None:
    """Raise `ValueError` for what AFS does not take as a volume's name."""
    if not _NAME.fullmatch(name) or name.endswith(_TAKEN_ENDINGS):
        raise ValueError(
            f"{name!a} is no name for a volume: up to 22 letters, digits, dots, hyphens and underscores, "
            "with a letter, and neither .backup nor .readonly at the end"
        )


def check_kind(link: Link) -> None:
    """Raise `StreamError` for what is no volume."""
    if link.stream.kind != "afs":
        raise StreamError(f"{link} is no volume dump", "give it back as it is: dedup get")


def find_target(vos: Vos, name: str, original: str, site: Site | None, *, overwrite: bool) -> Target:
    """Find out where to restore to.

    `original` is the name of the stored volume: without a `site`, the new one is made where that is now.
    Nothing that is stored says where, as a writer could have a volume sent anywhere.  Raises `DedupError`.
    """
    there = vos.examine(name)
    if there is not None:
        found = Site(there.server, there.partition)
        if not overwrite:
            raise DedupError(
                f"the volume {describe(there, name)} exists already",
                "choose another name, or replace it with --overwrite",
            )
        if there.status != OK or there.type != READ_WRITE:
            raise DedupError(
                f"the volume {describe(there, name)} is {there.status if there.status != OK else 'no read-write one'}",
                "it is not replaced; repair or remove it first, or restore to another name",
            )
        if site is not None:
            raise DedupError(
                f"the volume {describe(there, name)} is replaced where it is",
                "leave out --server and --partition, or restore to another name",
            )
        return Target(name, found, there)
    if overwrite:
        raise DedupError(f"there is no volume {name} to overwrite", "leave --overwrite out to make it")
    if site is None:
        home = vos.examine(original) if _NAME.fullmatch(original) and original != name else None
        if home is None:
            raise DedupError(
                f"there is no volume {safe(original)} beside which to restore",
                "say where: --server SERVER --partition PARTITION",
            )
        site = Site(home.server, home.partition)
    return Target(name, site, None)


def check_dumps(repository: "Repository", links: Sequence[Link]) -> int:
    """Walk through the dumps without contents, as merging will; return the size of the one full dump.

    Raises `StreamError` for what cannot be merged, and what `Repository.open_stream` raises.
    """
    from pipelines.formats.afs.join import check_chain, living
    from pipelines.formats.afs.reader import DumpReader

    with ExitStack() as stack:
        dumps = [
            DumpReader(stack.enter_context(repository.open_stream(*link, contents=False))) for link in links
        ]
        check_chain(dumps)
        headers = len(dumps[-1].header.as_full()) + len(dumps[-1].volume.raw)
        return headers + sum(len(vnode.head) + vnode.size for _, vnode in living(dumps))


def check_space(vos: Vos, target: Target, needed: int) -> None:
    """Raise `DedupError` if the partition does not exist or has not so many bytes."""
    free = vos.free(target.site)
    if needed > free:
        raise DedupError(
            f"the volume needs {size(needed)}, but {target.site} has only {size(free)} free",
            "choose another place with --server and --partition",
        )


def describe(volume: Volume, name: str) -> str:
    """Return a volume's name, id and place."""
    return f"{safe(name)} ({volume.id}) on {Site(volume.server, volume.partition)}"


def verify(repository: "Repository", links: list[Link], progress: Progress) -> None:
    """Read the whole dump, and so verify every byte of it."""
    done = 0
    with chains.full_dump(repository, links) as pieces:
        for piece in pieces:
            done += len(piece)
            progress(done)


def keep_clone(vos: Vos, replaced: Volume) -> None:
    """Make the backup volume of what is about to be replaced.  Raises `DedupError`."""
    try:
        vos.say("backup", "-id", str(replaced.id))
    except VosError as error:
        raise DedupError(
            f"what would be replaced cannot be kept as a clone: {error.message}",
            f"nothing was replaced; {error.hint or 'restore to another name'}",
        ) from None


def restore(
    vos: Vos,
    repository: "Repository",
    links: list[Link],
    target: Target,
    progress: Progress,
    warn: Callable[[str], None],
) -> int:
    """Restore; return the volume's id.

    After a failure or an interruption, clean up; `warn` gets the result.
    """
    with chains.full_dump(repository, links) as pieces:
        running = vos.restore(target.site, target.name, overwrite=target.replaced is not None)
        try:
            running.feed(pieces, progress)
            if running.made is None:
                raise VosError("vos restore ended well, but did not say what it restored")
            return running.made
        except BaseException:
            running.stop()
            if (made := running.made) is not None:
                _clean_up(vos, target, made, warn)
            raise
        finally:
            running.close()


def _clean_up(vos: Vos, target: Target, made: int, warn: Callable[[str], None]) -> None:
    if target.replaced is None:
        command = ("remove", *target.site.arguments(), "-id", str(made))
        failed = f"the half-restored volume {target.name} is left, as volume {made}; remove it: {vos.line(*command)}"
        done = f"the half-restored volume {target.name} was removed"
    else:
        command = ("offline", *target.site.arguments(), "-id", str(target.replaced.id))
        failed = f"the incomplete {target.name} is on line; take it off line: {vos.line(*command)}"
        done = f"{target.name} is incomplete, and off line; to put back what it was: {undo(vos, target)}"
    try:
        vos.say(*command)
        warn(done)
    except VosError as error:
        warn(f"{error.message}; {failed}")


def undo(vos: Vos, target: Target) -> str:
    """Return the command line that puts back what was replaced."""
    place, secret = target.site.arguments(), encryption(target.site.server)
    return (
        f"{vos.line('dump', '-id', f'{target.name}.backup', *secret)} | "
        f"{vos.line('restore', *place, '-name', target.name, '-overwrite', 'full', *secret)}"
    )


def next_steps(vos: Vos, target: Target, original: str) -> list[tuple[str, str]]:
    """Return what to do next: command lines, each with what it is for."""
    name = target.name
    if target.replaced is not None:
        return [
            (vos.line("release", "-id", name), "if that has read-only copies"),
            (undo(vos, target), "to put back what it was before, until the next vos backup"),
        ]
    steps = [(f"fs mkm {name} {name}", "to look at it: mounts it in the AFS folder where you are")]
    placed = original if _NAME.fullmatch(original) else name
    if placed != name:
        old = f"{placed[:18]}.old"
        steps += [
            (vos.line("rename", "-oldname", placed, "-newname", old), f"to make it {placed}, these two"),
            (vos.line("rename", "-oldname", name, "-newname", placed), ""),
        ]
    return [
        *steps,
        (vos.line("release", "-id", placed), "if that has read-only copies"),
        ("fs checkvolumes", "on clients that knew the old one"),
        (vos.line("remove", *target.site.arguments(), "-id", name), "to throw it away again"),
    ]
