"""What is known of a stream beside its bytes: the only place that builds facts, and the only one that reads them.

In a snapshot, the facts of a stream are a map with `v`, the version, `is`, which names one of the types below, and that
type's fields (docs/format.md 10).  They are a writer's words: a reader rests nothing on them but what it checks itself.

Invariant: `read` never raises, and every field that it returns is within its range.  What it does not understand (a
newer version, an ill-formed map) is as if there were no facts.  `wire` returns only what `read` would read.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from dedupstore.errors import StreamError
from dedupstore.format import facts as plain
from dedupstore.format import layout

if TYPE_CHECKING:
    from dedupstore.format.run_records import Stream
    from pipelines.formats.splitters import DumpFacts

VERSION = 1

_TEXT = 255  # characters

Number = Annotated[int, Meta(ge=0, le=2**32 - 1)]  # as wide as AFS has them
Date = Annotated[int, Meta(ge=0, le=layout.MAX_TIME)]  # Unix seconds
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=_TEXT)]


class _Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="is"):
    """Of every stream; source: which one of the config file gave it, empty for none."""

    source: Text = ""


class VolumeFacts(_Facts, frozen=True, kw_only=True, omit_defaults=True, tag="volume"):
    """A dump of a volume that `dedup run` has made; docs/afs.md says what each field is.

    parent: the name of the snapshot that an incremental builds on, empty for a full.  state: the digest of the list of
    vnodes, empty if the dump was not understood to its end.
    """

    volume: Number
    dumped: Number
    name: Text
    server: Text
    partition: Text
    since: Date
    until: Date
    creation: Date
    copy: Date
    update: Date
    backup: Date
    uniquifier: Number
    parent: Annotated[bytes, Meta(max_length=32)] = b""
    state: Annotated[bytes, Meta(max_length=16)] = b""
    unparsed: Offset | None = None
    others: bool = False
    stale: bool = False

    @property
    def full(self) -> bool:
        """Whether everything was asked for."""
        return self.since == 0

    def __post_init__(self) -> None:
        """Refuse fields that contradict one another."""
        if len(self.parent) != (0 if self.full else 32) or len(self.state) not in (0, 16):
            raise ValueError("a full names a parent, an incremental names none, or a digest is cut short")
        if self.until < self.since:
            raise ValueError("it ends before it begins")


class Dump(_Facts, frozen=True, kw_only=True, omit_defaults=True, tag="dump"):
    """A volume dump that somebody else has made: what its header says, 0 or empty for what that does not say."""

    volume: Number = 0
    name: Text = ""
    since: Date = 0
    until: Date = 0


class Tar(_Facts, frozen=True, kw_only=True, omit_defaults=True, tag="tar"):
    """A tar."""


class Raw(_Facts, frozen=True, kw_only=True, omit_defaults=True, tag="raw"):
    """Anything else."""


Facts: TypeAlias = VolumeFacts | Dump | Tar | Raw

_OF_KIND: dict[str, Any] = {"afs": VolumeFacts | Dump, "tar": Tar, "raw": Raw}  # of each kind of stream


def read(stream: "Stream") -> Facts | None:
    """Return what is known of a stream; None if nothing is, or it is not understood."""
    wanted = _OF_KIND.get(stream.kind)
    said = plain.load(stream.facts)
    version = said.get("v") if said else None
    if wanted is None or type(version) is not int or version != VERSION:  # True is no version
        return None
    try:
        found: Facts = msgspec.convert(said, wanted, builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError, TypeError, RecursionError):
        return None
    return found


def volume_of(stream: "Stream") -> VolumeFacts | None:
    """Return what is known of a volume that `dedup run` has dumped; None for any other stream."""
    found = read(stream)
    return found if isinstance(found, VolumeFacts) else None


def parent_of(stream: "Stream") -> bytes:
    """Return the name of the snapshot that a stream builds on, empty if it builds on none."""
    found = volume_of(stream)
    return found.parent if found is not None else b""


def source_of(stream: "Stream") -> str:
    """Return which source of its writer's config file a stream is of, empty if that is not known."""
    found = read(stream)
    return found.source if found is not None else ""


def given(kind: str, header: "DumpFacts | None", source: str) -> Facts:
    """Return the facts of a stream that was given to us; `header` is what a volume dump says of itself."""
    if kind == "tar":
        return Tar(source=source)
    if kind != "afs":
        return Raw(source=source)
    if header is None:
        return Dump(source=source)
    name = header.name.decode("utf-8", "backslashreplace")[:_TEXT]
    return Dump(source=source, volume=header.volume, name=name, since=header.since, until=header.until)


def wire(facts: Facts) -> dict[str, Any]:
    """Return facts as a map for a snapshot.  Raises `StreamError` for what no reader would read."""
    found: dict[str, Any] = {"v": VERSION, **msgspec.to_builtins(facts, builtin_types=(bytes,))}
    try:
        msgspec.convert(found, type(facts), builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError) as error:
        raise StreamError(f"what is known of the stream is beyond its bounds: {error}") from None
    return found
