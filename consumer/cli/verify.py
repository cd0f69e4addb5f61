"""`segmenter verify`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from consumer.cli.command import Command
from consumer.cli.values import ANY_PATH, above_0
from consumer.contract.errors import UsageError
from consumer.settings import Settings

_seconds = partial(click.option, type=above_0, metavar="SECONDS")


@click.command(cls=Command)
@click.argument(
    "folder",
    type=ANY_PATH,
    required=False,
    help="A replay's output; without it the topics are read.",
)
@click.option(
    "--against",
    type=ANY_PATH,
    metavar="FOLDER",
    help="Compare the topics with this replay of the same input and model.",
)
@click.option("--follow", is_flag=True, help="Audit the topics while workers write, for ever.")
@click.option("--from-now", is_flag=True, help="With --follow: begin at the present ends.")
@_seconds("--every", "every_seconds", help="With --follow: from one line to the next; else 10.")
@_seconds("--for", "for_seconds", help="With --follow: end after that; else at SIGTERM or SIGINT.")
@_seconds(
    "--settle",
    "settle_seconds",
    help="With --follow: what one transaction writes may be apart that long, and be open; else the "
    "transaction timeout and 30.",
)
@_seconds(
    "--stall",
    "stall_seconds",
    help="With --follow: tell of partitions that stand still for that long; else 60.",
)
@click.option("--json", "as_json", is_flag=True, help="With --follow: a JSON object a line.")
def verify(
    settings: Settings, folder: Path | None, against: Path | None, follow: bool, **following: Any
) -> int:
    """Check what must always hold."""
    given = {name: value for name, value in following.items() if value}
    if follow:
        from consumer.verify.service import run_follow

        if folder is not None or against is not None:
            raise UsageError(
                "--follow audits topics without an end: leave FOLDER and --against out"
            )
        return run_follow(settings, **given)
    if given:
        flag = next(iter(given)).removeprefix("as_").removesuffix("_seconds").replace("_", "-")
        raise UsageError(f"--{flag} goes with --follow only")
    if folder is not None and against is not None:
        raise UsageError("--against compares topics with a folder: leave the other folder out")

    from consumer.verify import check_ended, verify_folder, verify_topics

    if against is not None:
        check_ended(against)
    result = verify_folder(folder) if folder else verify_topics(settings, intake=True)
    click.echo(result.render().rstrip("\n"))
    if against is None or result.exit_code != 0:
        return result.exit_code

    from consumer.verify.oracle import compare_with_replay

    count, sentences = compare_with_replay(settings, against)
    for sentence in sentences:
        click.echo(f"  {sentence}")
    click.echo(f"{count:,} differences from the replay in {against}")
    return 1 if count else 0
