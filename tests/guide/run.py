"""`make test-guide`: docs/getting-started.md word for word, in a clone.

The home folder is empty, so packages, the embedding model and Kafka are fetched. Ports 9092 and
8080 have to be free. What each block took is told. Exit code 0: it leads to a group at work. 1: it
does not, and where is named.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.guide.terminals import (
    ROOT,
    GuideError,
    follow,
    guide_blocks,
    plain_environment,
    terminals,
)

logger = logging.getLogger(__name__)

_ACTIVATE = "if [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi"


def main(given: Sequence[str] | None = None) -> int:
    """Do what the guide says."""
    parser = argparse.ArgumentParser(prog="make test-guide", description=__doc__)
    parser.add_argument("--seconds", type=float, default=900, help="for a block at most")
    arguments = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="segmenter-guide-") as name:
        folder, home = Path(name) / "segmenter", Path(name) / "home"
        home.mkdir()
        clone = ["git", "clone", "--quiet", str(ROOT), str(folder)]
        subprocess.run(clone, check=True)
        began = last = time.monotonic()

        def told(words: str) -> None:
            nonlocal last
            now = time.monotonic()
            logger.info("%5.0f s  %s", now - last, words)
            last = now

        environment = plain_environment(HOME=str(home))
        try:
            with terminals(folder, environment, _ACTIVATE) as opened:
                follow(opened, guide_blocks(), told, arguments.seconds)
                logger.info("%5.0f s  all of it", time.monotonic() - began)
        except GuideError as error:
            logger.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
