"""Where the command `segmenter` begins: a signal ends it in order while its modules still load."""

from __future__ import annotations

import sys

from consumer.process import ending

_RUNS_FOR_EVER = {"worker", "trainer", "recommender", "intake", "rules"}


def main() -> int:
    """Run the command line."""
    ending.exit_at_signals(0 if _RUNS_FOR_EVER & {*sys.argv[1:2]} else ending.EXIT_INTERRUPTED)
    from consumer.cli import main as cli

    return cli.main()
