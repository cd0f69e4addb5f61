"""`segmenter reset`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click
from pydantic import TypeAdapter, ValidationError

from consumer.cli.command import Command
from consumer.cli.values import time
from consumer.contract.errors import UsageError
from consumer.settings import Settings

_DURATION = TypeAdapter(timedelta)
_LONGEST = timedelta(days=366 * 50)


def _duration(text: str) -> timedelta:
    """Take a duration as ISO 8601 has it."""
    try:
        found = _DURATION.validate_python(text) if text.startswith("P") else timedelta()
    except ValidationError:
        found = timedelta()
    if not timedelta() < found <= _LONGEST:
        raise click.BadParameter(
            f"{text} is no duration of up to 50 years, as ISO 8601 has it (P2DT3H)."
        )
    return found


@click.command(cls=Command)
@click.option("--to-earliest", is_flag=True, help="Read from the beginning; so without any --to.")
@click.option("--to-latest", is_flag=True, help="Read only what comes from now on.")
@click.option("--to-datetime", type=time, metavar="TIME", help="Read from then on, by RFC 3339.")
@click.option(
    "--by-duration", type=_duration, metavar="DURATION", help="So long ago, by ISO 8601 (P2DT3H)."
)
@click.option(
    "--shift-by", type=int, metavar="N", help="So many records on, or back where below 0."
)
@click.option("--execute", is_flag=True, help="Do it; without this nothing is written.")
@click.option("--dry-run", is_flag=True, help="Say what it would do, as it does without --execute.")
def reset(
    settings: Settings,
    to_earliest: bool,
    to_latest: bool,
    to_datetime: datetime | None,
    by_duration: timedelta | None,
    shift_by: int | None,
    execute: bool,
    dry_run: bool,
) -> None:
    """Empty the profiles of a stopped group, and have it read its input again.

    As with Kafka's own tools for a reset, nothing is done without --execute: it says what it would
    do. It is refused while workers or trainers run; one that was killed, or that has an instance
    id, stays in its group for a session, which is waited for.

    What is known of a user is forgotten but where the user stands: the segment, labels, and how
    many changes there were. Subscribers see nothing of the reset itself. What is read again moves
    users by further changes, each of which goes on from the last one; who does not come again stays
    in the segment. The segments themselves stay, and so does what else the trainer has learned, but
    its sample of users, which fills again. Dead letters of what is read again come again.

    It may be killed and run again. In between no worker starts, which says why. Input, changes,
    memberships, dead letters, labels and the groups of intake and redrive are not touched. For a
    beginning from nothing, segments too, take another topics.prefix.
    """
    given = {
        "--to-earliest": to_earliest,
        "--to-latest": to_latest,
        "--to-datetime": to_datetime is not None,
        "--by-duration": by_duration is not None,
        "--shift-by": shift_by is not None,
    }
    several = [name for name, there in given.items() if there]
    if len(several) > 1:
        raise UsageError(f"{' and '.join(several)} say different things: give one of them")
    if execute and dry_run:
        raise UsageError("--execute and --dry-run say different things: give one of them")
    from consumer.reset.command import reset as run
    from consumer.reset.run import Reset
    from consumer.reset.target import Target

    target = Target()
    if to_latest:
        target = Target("latest")
    elif to_datetime is not None or by_duration is not None:
        at = to_datetime if by_duration is None else datetime.now(UTC) - by_duration
        target = Target("datetime", at)
    elif shift_by is not None:
        target = Target("shift", shift=shift_by)
    run(Reset(settings, target), settings, execute=execute, say=sys.stdout.write)
