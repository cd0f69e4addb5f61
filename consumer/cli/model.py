"""The commands under `segmenter model`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.cli import arguments
from consumer.contract.errors import UsageError

# Imported late otherwise: --help and usage errors should not wait for ONNX Runtime.
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from consumer.report.tables import FittedTable
    from consumer.settings import Settings
    from models.embedding.inventory import CachedModel

_PIPE_WIDTH = 240  # nothing is cut off where no terminal sets a width


def add_model_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `model` and what is under it to the commands of the command line.

    Parameters
    ----------
    commands
        Where commands are added.
    command
        Adds one, with its settings.
    """
    model = commands.add_parser("model", help="manage the embedding model").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    command(model, "prepare", _prepare, "make the embedding model ready in the cache")

    export = command(model, "export", _export, "make an embedding model in a folder of its own")
    export.add_argument("source", help="'default', a checkpoint's folder, or a hub id")
    export.add_argument("--output", type=Path, required=True, help="folder to make")
    export.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="arithmetic; else int8, with --exporter optimum fp32",
    )
    export.add_argument(
        "--exporter",
        choices=("direct", "optimum"),
        default="direct",
        help="direct: the BERT family; optimum: any encoder, needs the extra export",
    )
    export.add_argument(
        "--prefix", metavar="TEXT", help="put before every text; else what the model asks for"
    )

    verify = command(model, "verify", _verify, "check an exported or cached model")
    verify.add_argument("folder", type=arguments.folder, help="folder of the model")

    cached = command(model, "list", _list, "show the models in the cache")
    cached.add_argument("--json", action="store_true", help="as JSON")


def _prepare(settings: Settings, _options: argparse.Namespace) -> int:
    from consumer.wiring.app import model_precision  # noqa: PLC0415
    from models.embedding.making.prepare import prepare_model  # noqa: PLC0415

    embedding = settings.embedding
    folder = prepare_model(embedding.model, precision=model_precision(embedding))
    sys.stdout.write(f"{folder}\n")
    return 0


def _export(_settings: Settings, options: argparse.Namespace) -> int:
    from models.embedding.errors import OutputExistsError  # noqa: PLC0415
    from models.embedding.making.export import export_model  # noqa: PLC0415

    if options.exporter == "optimum" and options.precision == "int8":
        raise UsageError("--precision int8 is made by --exporter direct only: choose fp32 or fp16")
    try:
        manifest = export_model(
            options.source,
            options.output,
            precision=options.precision,
            exporter=options.exporter,
            prefix=options.prefix,
        )
    except OutputExistsError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(f"{options.output}\n{manifest.identity}\n")
    return 0


def _verify(_settings: Settings, options: argparse.Namespace) -> int:
    from models.embedding.making.verification import verify_model  # noqa: PLC0415

    report = verify_model(options.folder)
    sys.stdout.write(report.render())
    return 0 if report.passed else 1


def _list(_settings: Settings, options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415

    from models.embedding.inventory import list_models  # noqa: PLC0415

    models = list_models()
    if options.json:
        text = json.dumps([_describe(model) for model in models], indent=2, ensure_ascii=False)
        sys.stdout.write(f"{text}\n")
    elif not models:
        sys.stdout.write("no models in the cache; `segmenter model prepare` makes one\n")
    else:
        console = Console(file=sys.stdout)
        if not console.is_terminal:
            console = Console(file=sys.stdout, width=_PIPE_WIDTH)
        console.print(_table(models))
    return 0


def _describe(model: CachedModel) -> dict[str, Any]:
    line: dict[str, Any] = {"folder": str(model.folder), "bytes": model.size}
    if model.manifest is None:
        return {**line, "problem": model.problem}
    about = model.manifest.model_dump(exclude={"files", "operators", "provenance"})
    return {"identity": model.manifest.identity, **about, **line}


def _table(models: list[CachedModel]) -> FittedTable:
    from rich.text import Text  # noqa: PLC0415

    from consumer.report.tables import FittedTable  # noqa: PLC0415

    left = ("name", "precision", "pooling", "folder")
    columns = ("identity", "name", "precision", "dimensions", "tokens", "MB", "pooling", "folder")
    table = FittedTable("", *columns, left=left)
    for model in models:
        size = f"{model.size / 1e6:.1f}"
        if (manifest := model.manifest) is None:
            cells = ["-", "unreadable", "-", "-", "-", size, "-", str(model.folder)]
        else:
            cells = [
                manifest.identity[:12],
                manifest.name,
                manifest.precision,
                str(manifest.dimensions),
                str(manifest.max_tokens),
                size,
                manifest.pooling,
                str(model.folder),
            ]
        table.add_row(*map(Text, cells))
    return table
