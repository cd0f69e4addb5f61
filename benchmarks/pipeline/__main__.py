"""The command line: one subcommand a question."""

from __future__ import annotations

import argparse

from benchmarks.pipeline import (
    budget,
    compare,
    memory,
    newmodel,
    preparing,
    references,
    stage,
)
from benchmarks.pipeline.page import render_page

PARTS = {
    "stage": stage,
    "budget": budget,
    "compare": compare,
    "memory": memory,
    "newmodel": newmodel,
    "preparing": preparing,
    "references": references,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="|".join(PARTS))
    for name, part in PARTS.items():
        own = parts.add_parser(
            name,
            help=(part.__doc__ or "").splitlines()[0],
            description=part.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.add_to(own)
        own.set_defaults(measure=part.measure)
    rendering = parts.add_parser("render", help="write docs/performance.md's tables and picture")
    rendering.set_defaults(measure=lambda _options: render_page())
    options = parser.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
