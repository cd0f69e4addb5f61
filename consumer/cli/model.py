"""`segmenter model`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENTS, FOLDER, Count, GivenName, GivenPath, event_file
from consumer.contract.errors import UsageError
from consumer.contract.extras import need
from consumer.settings import Settings
from models.embedding.policy import DIMENSIONS, LEAST_TEXTS, MOST_TEXTS

if TYPE_CHECKING:
    from consumer.contract.records import Record
    from consumer.offline.files import EventFile
    from models.embedding.inventory import CachedModel

_MADE = GivenPath(exists=True, file_okay=False, path_type=Path)


@click.group()
def model() -> None:
    """Manage the embedding model."""


@model.command(cls=Command, extra="model")
@click.argument("name", required=False, type=GivenName(), help="In place of embedding.model.")
def prepare(settings: Settings, name: str | None) -> None:
    """Make the embedding model ready in the cache."""
    from consumer.wiring.embedder import make_models

    if name is not None:
        settings = settings.changed("embedding", model=name)
    for folder in make_models(settings.embedding):
        click.echo(folder)


@model.command(cls=Command, extra="model")
@click.argument(
    "source",
    type=GivenName(),
    help="'default', 'multilingual', a checkpoint's folder, or a hub id.",
)
@click.option("--output", type=FOLDER, required=True, help="Folder to make.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Arithmetic; else int8, with --exporter optimum fp32.",
)
@click.option(
    "--exporter",
    type=click.Choice(["direct", "optimum"]),
    default="direct",
    help="direct: the BERT family; optimum: any encoder, needs the extra export.",
)
@click.option(
    "--prefix", metavar="TEXT", help="Put before every text; else what the model asks for."
)
def export(_settings: Settings, source: str, output: Path, **how: Any) -> None:
    """Make an embedding model in a folder of its own."""
    from consumer.report.progress import steps
    from models.embedding.errors import OutputExistsError
    from models.embedding.making.export import export_model

    if how["exporter"] == "optimum" and how["precision"] == "int8":
        raise UsageError("--precision int8 is made by --exporter direct only: choose fp32 or fp16")
    if how["exporter"] == "optimum":
        need("--exporter optimum", "export")
    try:
        with steps() as tell:
            manifest = export_model(source, output, tell=tell, **how)
    except OutputExistsError as error:
        raise UsageError(str(error)) from error
    click.echo(f"{output}\n{manifest.identity}")


@model.command(cls=Command, extra="model")
@click.argument("folder", type=_MADE, help="Folder of the model.")
def verify(_settings: Settings, folder: Path) -> int:
    """Check an exported or cached model."""
    from models.embedding.making.verification import verify_model

    report = verify_model(folder)
    click.echo(report.render(), nl=False)
    return 0 if report.passed else 1


@contextmanager
def _reading(
    records: Iterable[Record], settings: Settings, name: str, file: EventFile | None
) -> Iterator[Iterator[str]]:
    """Give the clean texts of a file, or of a topic, and tell how far it is and what is refused."""
    from rich.console import Console

    from consumer.offline import outcome
    from consumer.offline.refusals import Refusals
    from consumer.offline.texts import clean_texts
    from consumer.report.progress import counting

    refusals, expected = Refusals(), (lambda: None) if file is None else file.expected
    try:
        with counting(Console(stderr=True), "reading", "records", expected) as progress:
            yield clean_texts(records, settings, name, progress, refusals.add)
    finally:
        outcome.write(sys.stderr, outcome.refused(refusals, file, settings))


@model.group()
def fit() -> None:
    """Fit an embedding model on your own history."""


@fit.command(cls=Command, extra="words")
@click.option("--input", "input_file", type=EVENTS, help="Events, as for replay.")
@click.option("--topic", is_flag=True, help="In place of a file: all of topics.events.")
@click.option("--dimensions", type=Count(2, 1024), default=DIMENSIONS, help="Length of a vector.")
@click.option(
    "--texts",
    type=Count(LEAST_TEXTS),
    default=MOST_TEXTS,
    help="Different texts to look at, at most.",
)
def words(
    settings: Settings, input_file: Path | None, topic: bool, dimensions: int, texts: int
) -> None:
    """Fit the model 'words', into embedding.words.folder."""
    from consumer.kafka.cluster import read_topic
    from consumer.offline import files
    from models.embedding.errors import OutputExistsError
    from models.embedding.making.fit_words import FitOptions, fit_words
    from models.embedding.prepared import words_folder

    if topic == (input_file is not None):
        raise UsageError("give --input FILE or --topic, one of them")
    folder = words_folder(settings.embedding.words.folder)
    found = None
    if input_file is not None:
        intake = settings.events.intake()
        found = files.event_file(input_file, intake)
        name = found.name
        records = files.read_records(found, settings.topics.events, intake)
    else:
        name = f"topic {settings.topics.events}"
        records = read_topic(settings, settings.topics.events)
    try:
        with _reading(records, settings, name, found) as cleaned:
            manifest = fit_words(cleaned, folder, FitOptions(dimensions, texts))
    except OutputExistsError as error:
        raise UsageError(str(error)) from error
    click.echo(f"{folder}\n{manifest.identity}")
    told = manifest.fitted
    click.echo(
        f"{told.texts:,} texts, {told.words:,} words, {manifest.dimensions} dimensions that keep "
        f"{told.explained:.0%} of the variance; languages: {', '.join(told.languages) or 'unknown'}"
    )


@model.command(cls=Command)
@event_file
@click.option("--texts", type=Count(1), default=2_000, help="Different texts to look at, at most.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def advise(settings: Settings, file: Path, texts: int, as_json: bool) -> None:
    """Tell which languages a file is in, and which embedding model reads them."""
    from dataclasses import asdict

    from consumer.offline import files
    from consumer.offline.advice import advise as advice_on
    from consumer.report.wording import plural

    intake = settings.events.intake()
    found = files.event_file(file, intake)
    records = files.read_records(found, settings.topics.events, intake)
    with _reading(records, settings, found.name, found) as cleaned:
        advice = advice_on(cleaned, texts)
    if as_json:
        click.echo(json.dumps(asdict(advice), indent=2, ensure_ascii=False))
        return
    texts_there = plural(advice.texts, "text")
    click.echo(f"{texts_there}, {advice.distinct:,} different ones of them looked at")
    for code, share in advice.languages.items():
        click.echo(f"  {code:<8} {share:>6.1%}")
    click.echo("Which model reads how much of it:")
    for each in advice.readers:
        click.echo(f"  {each.model:<14} {each.reads:>6.1%}")
    click.echo(f"Take embedding.model = {advice.model}: {advice.reason}.")


@model.command("list", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(_settings: Settings, as_json: bool) -> None:
    """Show the models in the cache."""
    from models.embedding.inventory import list_models

    models = list_models()
    if as_json:
        click.echo(json.dumps([_described(each) for each in models], indent=2, ensure_ascii=False))
    elif models:
        _print(models)
    else:
        click.echo("no models in the cache; `segmenter model prepare` makes one")


def _described(model: CachedModel) -> dict[str, Any]:
    line: dict[str, Any] = {"folder": str(model.folder), "bytes": model.size}
    if model.manifest is None:
        return {**line, "problem": model.problem}
    about = model.manifest.model_dump(exclude={"files", "operators", "provenance"})
    precision = {"precision": model.manifest.precision}
    return {"identity": model.manifest.identity, **precision, **about, **line}


def _print(models: list[CachedModel]) -> None:
    from consumer.report.terminal import FittedTable, console

    left = ("name", "precision", "pooling", "folder")
    columns = ("identity", "name", "precision", "dimensions", "tokens", "MB", "pooling", "folder")
    table = FittedTable("", *columns, left=left)
    for each in models:
        told = _described(each)
        told["MB"] = f"{each.size / 1e6:.1f}"
        if each.manifest is None:
            told["name"] = "unreadable"
        else:
            told["identity"], told["tokens"] = told["identity"][:12], told.get("max_tokens", "-")
        table.add_row(*(str(told.get(name, "-")) for name in columns))
    console(whole=True).print(table)
