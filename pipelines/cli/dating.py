"""Dates as arguments of commands."""

import time
from datetime import datetime

import click

from pipelines.streams import dates

_TOMORROW = 25 * 3600  # seconds; the day on which clocks are put back has so many hours


def read_date(_: click.Context, __: click.Parameter, value: str | None) -> dates.When | None:
    """Read an argument, if it was given, or fail as wrong usage: a callback for click."""
    if value is None:
        return None
    try:
        return dates.parse(value, datetime.now())
    except ValueError as error:
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
