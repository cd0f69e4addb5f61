"""`segmenter models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from consumer.cli.command import Command
from consumer.cli.values import Count, at_least_0
from consumer.settings import Settings

if TYPE_CHECKING:
    from schemas.model_control import OrderAction, OrderAnswer

_VERSION = Count(min=1)

as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, an object on one line.")
timeout = click.option(
    "--timeout",
    type=at_least_0,
    default="60",
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the trainer's answer; the order stays when it does not come.",
)


@click.group()
def models() -> None:
    """Look at versions of the segment model, freeze it, roll it back."""


@models.command(cls=Command, name="list")
@as_json
def list_(settings: Settings, as_json: bool) -> None:
    """List the versions that are kept, the one in force, and whether it is frozen."""
    from consumer.versions.read import find, versions
    from consumer.versions.render import render_versions

    found = versions(find(settings))
    click.echo(found.model_dump_json() if as_json else render_versions(found).rstrip("\n"))


@models.command(cls=Command)
@click.argument("version", type=_VERSION, help="A version, as `list` shows it.")
@as_json
def show(settings: Settings, version: int, as_json: bool) -> None:
    """Show a version: its segments, what it made of those before, what it was learned with."""
    from consumer.versions.read import details, find
    from consumer.versions.render import render_details

    found = details(find(settings), version)
    click.echo(found.model_dump_json() if as_json else render_details(found).rstrip("\n"))


@models.command(cls=Command)
@timeout
@as_json
def freeze(settings: Settings, timeout: float, as_json: bool) -> None:
    """Have the trainer publish no new version until `unfreeze`; users are sampled on."""
    from schemas.model_control import OrderAction

    _give(settings, OrderAction.FREEZE, timeout, as_json=as_json)


@models.command(cls=Command)
@timeout
@as_json
def unfreeze(settings: Settings, timeout: float, as_json: bool) -> None:
    """Have the trainer learn on, from the version in force and the users of now."""
    from schemas.model_control import OrderAction

    _give(settings, OrderAction.UNFREEZE, timeout, as_json=as_json)


@models.command(cls=Command)
@click.argument("version", type=_VERSION, help="The version to put in force again.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@timeout
@as_json
def rollback(
    settings: Settings, version: int, dry_run: bool, timeout: float, as_json: bool
) -> None:
    """Publish an earlier version's segments as the next version, and freeze."""
    from consumer.versions.read import find, preview
    from consumer.versions.render import render_preview
    from schemas.model_control import OrderAction

    # What cannot be followed is refused here, before anything is written.
    found = preview(settings, find(settings), version)
    if dry_run:
        click.echo(found.model_dump_json() if as_json else render_preview(found).rstrip("\n"))
        return
    seen = found.in_force
    _give(settings, OrderAction.ROLLBACK, timeout, version=version, seen=seen, as_json=as_json)


def _give(
    settings: Settings,
    action: OrderAction,
    seconds: float,
    *,
    version: int | None = None,
    seen: int | None = None,
    as_json: bool,
) -> None:
    """Give an order, and print the answer."""
    from consumer.versions.order import give_order

    tell: Callable[[str], None] = lambda sentence: click.echo(sentence, err=True)  # noqa: E731
    answer: OrderAnswer = give_order(
        settings, action, version=version, seen=seen, seconds=seconds, tell=tell
    )
    click.echo(answer.model_dump_json() if as_json else answer.detail)
