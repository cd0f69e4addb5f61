"""The command `segmenter evaluate`, as the command line sees it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consumer.cli import arguments
from consumer.settings import Settings


def add_evaluate_command(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command; `command` is how the command line makes one with all settings."""
    evaluate = command(
        commands,
        "evaluate",
        _evaluate,
        "replay a file and measure how good the segments are",
        shorthands=["segments"],
    )
    evaluate.add_argument("file", type=arguments.event_file, help=arguments.EVENT_FILE)
    evaluate.add_argument(
        "--label",
        metavar="FIELD",
        help="dotted path of the true label in the file's objects; compared with, never learned",
    )
    evaluate.add_argument("--output", type=Path, help="folder for evaluation.json and pictures")
    evaluate.add_argument("--json", action="store_true", help="print JSON in place of tables")
    evaluate.add_argument(
        "--model", type=arguments.file, help="keep this segment model, learn nothing"
    )
    evaluate.add_argument(
        "--now",
        type=arguments.time,
        help="what event times in the future are told by; else the clock",
    )


def _evaluate(settings: Settings, options: argparse.Namespace) -> int:
    from consumer.cli.evaluation import run_evaluate  # noqa: PLC0415

    return run_evaluate(
        settings,
        options.file,
        label=options.label,
        output=options.output,
        as_json=options.json,
        model_file=options.model,
        now=options.now,
    )
