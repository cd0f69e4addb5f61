"""`segmenter report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.command import Command
from consumer.cli.values import ANY_PATH, EVENTS, Count, GivenPath, above_0
from consumer.contract.errors import UsageError
from consumer.settings import Settings

if TYPE_CHECKING:
    from consumer.page.places import Projection

_PAGE = GivenPath(dir_okay=False, writable=True, path_type=Path)


@click.command(cls=Command, extra="report")
@click.argument("folder", type=ANY_PATH, required=False, help="A replay's; else the topics.")
@click.option(
    "--output", type=_PAGE, default="report.html", show_default=True, help="The page to be written."
)
@click.option(
    "--input",
    "input_file",
    type=EVENTS,
    help="The events of that replay: for ratings, labels and texts.",
)
@click.option(
    "--label",
    metavar="FIELD",
    help="Dotted path of the true label in the events; segments are compared with it.",
)
@click.option(
    "--days",
    type=above_0,
    default="7",
    show_default=True,
    help="The latest days, which are told of by themselves.",
)
@click.option(
    "--records",
    type=Count(1),
    default=200_000,
    show_default=True,
    help="Of a group's input, the latest so many are read.",
)
@click.option(
    "--json",
    "data",
    type=_PAGE,
    help="A file for segments with their items, and how they are related, as JSON.",
)
@click.option(
    "--projection",
    type=click.Choice(["pca", "umap"]),
    default="pca",
    show_default=True,
    help="How the map is made; umap wants the package umap-learn.",
)
def report(
    settings: Settings,
    folder: Path | None,
    output: Path,
    input_file: Path | None,
    label: str | None,
    days: float,
    records: int,
    data: Path | None,
    projection: Projection,
) -> None:
    """Write a page on what the segments are, who is in them and what changed."""
    from rich.console import Console

    from consumer.page.compose import Asked
    from consumer.page.places import check_projection
    from consumer.page.write import PageWriter
    from consumer.report.progress import counting

    check_projection(projection)
    if folder is None and input_file is not None:
        raise UsageError("--input goes with a replay's folder: else the input topic is read")
    if folder is not None and label is not None and input_file is None:
        raise UsageError("--label wants the replay's events: give them with --input")
    asked = Asked(days=days, projection=projection, label=label)
    with counting(Console(stderr=True), "reading", "events") as progress:
        writer = PageWriter(settings, asked, output, progress, data)
        if folder is not None:
            written = writer.of_folder(folder, input_file)
        else:
            from consumer.wiring.embedder import load_embedder

            written = writer.of_topics(records, lambda: load_embedder(settings))
    click.echo(written)
