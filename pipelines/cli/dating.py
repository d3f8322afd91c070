"""Dates as arguments of commands."""

from datetime import datetime

import click

from pipelines import dates


def read_date(_: click.Context, __: click.Parameter, value: str | None) -> dates.When | None:
    """Read an argument, if it was given, or fail as wrong usage: a callback for click."""
    if value is None:
        return None
    try:
        return dates.parse(value, datetime.now())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
