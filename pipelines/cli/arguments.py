"""Arguments that several commands have: dates, and a stream of a date."""

import time
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipelines.streams import dates
from pipelines.text import safe

if TYPE_CHECKING:
    from dedupstore.format.run_records import Stream
    from dedupstore.repository import Repository, SnapshotInfo
    from pipelines.streams.chains import Link

_TOMORROW = 25 * 3600  # seconds; the day on which clocks are put back has so many hours


def read_date(context: click.Context, parameter: click.Parameter, value: str | None) -> dates.When | None:
    """Read an argument, if it was given, or fail as wrong usage: a callback for click."""
    if value is None:
        return None
    try:
        return dates.parse(value, datetime.now())
    except ValueError as error:
        names = [each for each in context.command.params if isinstance(each, click.Argument)]
        one_date = [parameter] == [each for each in names if each.callback is read_date]
        if one_date and len(names) > 1 and not value[:1].isdigit():
            raise click.UsageError(
                f"DATE comes first: dedup {context.info_name} latest {safe(value)}"
            ) from None
        raise click.BadParameter(str(error)) from None


def read_moment(when: dates.When | None) -> dates.Moment:
    """Return the date to store a backup under, now for None; wrong usage for one that cannot be.

    Nothing is stored more than a day ahead: it would be the latest, and hide newer backups, until then.
    """
    try:
        moment = dates.moment(when, datetime.now())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--date") from None
    if moment.time - time.time() > _TOMORROW:
        raise click.BadParameter(
            f"{when} lies more than a day in the future; backups of it would hide newer ones",
            param_hint="--date",
        )
    return moment


class StreamOfDate(NamedTuple):
    """Which stream of which date is meant; `domain` is the beginning of a writer's, or empty."""

    when: dates.When
    name: str
    domain: str

    def find(self, repository: "Repository") -> "tuple[SnapshotInfo, Stream]":
        """Return the newest one, and its snapshot.  Raises `NotStoredError` if there is none."""
        return dates.find(self.when, self.name, repository.snapshots(), repository.streams, self.domain)

    def chain(self, repository: "Repository") -> "list[Link]":
        """Return it with the dumps that it builds on, the full one first."""
        from pipelines.streams.chains import chain

        return chain(repository, *self.find(repository))


def domain_option(what: str = "VOLUME") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --domain."""
    text = f"Whose {what}, if several writers have one: the beginning of its domain."
    return click.option("--domain", default="", help=text)


def stream_of_date(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments DATE and VOLUME and the option --domain, together as `asked`."""

    @click.argument("when", callback=read_date, metavar="DATE")
    @click.argument("name", metavar="VOLUME")
    @domain_option()
    @wraps(command)
    def with_stream(*arguments: Any, when: dates.When, name: str, domain: str, **others: Any) -> Any:
        return command(*arguments, asked=StreamOfDate(when, name, domain), **others)

    return with_stream
