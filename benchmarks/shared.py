"""What benchmarks share: the command line, the file of figures, and the pages made of them."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.markdown import render

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = Path(__file__).parent / "results"
DATA = ROOT.parent / "shared" / "data" / "stackexchange.jsonl.gz"

Figures = dict[str, Any]


def say(what: str) -> None:
    """Tell how far it is, at once: a run takes long."""
    print(what, flush=True)


def parser(
    doc: str, output: str, *, events: bool = False, picture: Path | None = None, page: bool = False
) -> argparse.ArgumentParser:
    """Give a parser with the options that benchmarks share.

    Parameters
    ----------
    doc
        What the benchmark says of itself; its first line is shown.
    output
        Name of the file of figures.
    events
        Whether it reads events and embeds their texts.
    picture
        What it draws.
    page
        Whether a page of the docs shows the figures.
    """
    made = argparse.ArgumentParser(
        description=doc.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = made.add_argument
    if events:
        add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
        add("--vectors", type=Path, help="keeps vectors for the next run; none are kept without")
    if picture:
        add("--picture", type=Path, default=picture, help="where the curves go")
    if page:
        add("--render", action="store_true", help="only draw and write what the results say")
    add("--output", type=Path, default=RESULTS / output, help="where the figures go")
    return made


def add_fields(made: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add an option for each field of a dataclass, with its default and its `help`."""
    for each in fields(kind):
        name = f"--{each.name.replace('_', '-')}"
        made.add_argument(name, type=type(each.default), default=each.default, **each.metadata)


def run(options: argparse.Namespace, measure: Callable[[Path], Figures]) -> Figures:
    """Measure and write the figures, unless they are only to be rendered; give what is written.

    `measure` is given an empty folder. Where vectors are kept for the next run nowhere else,
    `options.vectors` is a file in it.
    """
    if not getattr(options, "render", False):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            if "vectors" in options:
                options.vectors = options.vectors or Path(name) / "vectors.npz"
            write(options.output, measure(Path(name)))
    return read(options.output)


def read(path: Path) -> Figures:
    """Read a file of figures."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def write(path: Path, figures: Figures) -> None:
    """Write figures as JSON with what holds only numbers, such as a policy's row, on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    as_read = json.loads(
        json.dumps(figures, ensure_ascii=False)
    )  # no tuples, which are lists there
    path.write_text(_written(as_read, 0) + "\n", encoding="utf-8")


def _written(value: Any, depth: int) -> str:
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or not any(
        isinstance(part, dict | list) for part in parts
    ):
        return json.dumps(value, ensure_ascii=False)
    inside = [_written(part, depth + 1) for part in parts]
    opened, closed = "[]"
    if isinstance(value, dict):
        opened, closed = "{}"
        inside = [f"{json.dumps(key)}: {part}" for key, part in zip(value, inside, strict=True)]
    gap = "\n" + " " * depth
    return opened + ",".join(gap + " " + part for part in inside) + gap + closed


def write_page(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part between the page's marks of its name; the rest stays."""
    text = page.read_text(encoding="utf-8")
    for name, content in parts.items():
        text = render(text, name, content)
    page.write_text(text, encoding="utf-8")
