"""`segmenter explain`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENTS, FOLDER, GivenPath, time, user_id
from consumer.contract.errors import UsageError
from consumer.settings import Settings


@click.command(cls=Command)
@click.argument("user", help="The user's id.", callback=user_id)
@click.option(
    "--replay",
    type=FOLDER,
    metavar="FOLDER",
    help="Look into what `segmenter replay` wrote, instead of at the topics.",
)
@click.option(
    "--input", "file", type=EVENTS, help="With --replay: the file that was replayed, for its texts."
)
@click.option("--at", type=time, help="What was known then, as far as it is kept.")
@click.option(
    "--texts/--no-texts", default=False, show_default=True, help="Whether users' texts are shown."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, an object on one line.")
@click.option(
    "--html",
    type=GivenPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page that needs nothing else.",
)
def explain(
    settings: Settings,
    user: str,
    replay: Path | None,
    file: Path | None,
    at: datetime | None,
    texts: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Tell why a user is in a segment, and what would move the user."""
    from functools import cache

    from consumer.explain.explain import explain as explained
    from consumer.explain.page import page
    from consumer.explain.render import render
    from consumer.explain.sources import from_folder, from_kafka
    from consumer.wiring.embedder import load_embedder

    if file is not None and replay is None:
        raise UsageError("--input goes with --replay: else texts are read from the input topic")
    if replay is not None:
        evidence = from_folder(settings, replay, file, user, at)
    else:
        evidence = from_kafka(settings, user, at)
    load = cache(lambda: load_embedder(settings))
    found = explained(evidence, user, settings, load, at=at, texts=texts)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
        click.echo(f"written to {html}", err=True)
    if html is None or as_json:
        click.echo(found.model_dump_json() if as_json else render(found).rstrip("\n"))
