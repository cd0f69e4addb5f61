"""`segmenter changes`."""

from __future__ import annotations

import select
import sys
from contextlib import closing
from datetime import datetime

import click

from consumer.cli.command import Command
from consumer.cli.values import time, user_id
from consumer.contract.errors import UsageError
from consumer.settings import Settings
from schemas.changes import ChangeCause, ChangeReason

_WAIT_SECONDS = 0.2


def _user_id(context: click.Context, parameter: click.Parameter, user: str | None) -> str | None:
    return None if user is None else user_id(context, parameter, user)


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until it is stopped.")
@click.option("--user", callback=_user_id, metavar="ID", help="Only of this user.")
@click.option(
    "--segment",
    metavar="SEGMENT",
    help="Only into or out of this segment: its id, its name, or a part of one name alone.",
)
@click.option(
    "--reason",
    "reasons",
    type=click.Choice([each.value for each in ChangeReason]),
    multiple=True,
    help="Only for this reason. May be given again.",
)
@click.option(
    "--cause",
    "causes",
    type=click.Choice([each.value for each in ChangeCause]),
    multiple=True,
    help="Only of this cause. May be given again.",
)
@click.option(
    "--since", type=time, metavar="TIME", help="Only from then on, as RFC 3339 has it; else all."
)
@click.option("--from-now", is_flag=True, help="Only what comes from now on, with --follow.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a change a line.")
def changes(
    settings: Settings,
    follow: bool,
    user: str | None,
    segment: str | None,
    reasons: tuple[str, ...],
    causes: tuple[str, ...],
    since: datetime | None,
    from_now: bool,
    as_json: bool,
) -> None:
    """Print the changes of users' segments, a line each.

    Committed changes alone, in the order in which they happened, read in no consumer group: nobody
    else is disturbed, and nothing is committed. Without --follow it ends at the end. JSON has what
    was published, non-ASCII characters escaped.
    """
    from consumer.live.changes import (
        Changes,
        NothingFoundError,
        Wanted,
        line,
        named_segment,
        nothing_found,
    )
    from consumer.report.terminal import console

    if from_now and not follow:
        raise UsageError("--from-now goes with --follow only")
    if from_now and since is not None:
        raise UsageError("--from-now does not go with --since")
    named = None if segment is None else named_segment(settings, segment)
    wanted = Wanted(
        user=user,
        segment=named.segment if named else None,
        reasons=frozenset(reasons),
        causes=frozenset(causes),
        since=since,
        from_now=from_now,
    )
    topic, out = settings.topics.changes, console().file
    with closing(Changes(settings, wanted)) as found:
        told = from_now
        while follow or not found.caught_up:
            published = found.poll(_WAIT_SECONDS)
            out.writelines(
                f"{each.as_json() if as_json else line(each.change)}\n" for each in published
            )
            out.flush()
            if not published and _nobody_reads():
                raise BrokenPipeError
            if found.caught_up and not told:
                told = True
                said = None if found.named else nothing_found(topic, wanted, named)
                if said is not None and not follow and since is None:
                    raise NothingFoundError(said)
                if said is not None:
                    click.echo(f"{said}{' yet' if follow else ''}", err=True)


def _nobody_reads() -> bool:
    """Tell whether a pipe is closed at its other end, before there is anything to write into it."""
    try:
        watch = select.poll()
        watch.register(sys.stdout, 0)  # errors and hang-ups are told unasked
        return bool(watch.poll(0))
    except (OSError, ValueError):  # no file of the system
        return False
