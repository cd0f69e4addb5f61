"""`make test-guide`: docs/getting-started.md word for word, in a clone.

The home folder is empty, so packages, the embedding model and Kafka are fetched. Ports 9092 and
8080 have to be free; `--broker-port` and `--http-port` take others in their place. What each block
took is told. Exit code 0: it leads to a group at work. 1: it does not, and where is named. 2: it
could not be tried out.
"""

from __future__ import annotations

import argparse
import logging
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.guide.terminals import (
    ROOT,
    Block,
    GuideError,
    follow,
    guide_blocks,
    plain_environment,
    terminals,
)

logger = logging.getLogger(__name__)

_ACTIVATE = "if [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi"


PORTS = {"broker": 9092, "http": 8080}


def taken(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


def main(given: Sequence[str] | None = None) -> int:
    """Do what the guide says."""
    parser = argparse.ArgumentParser(prog="make test-guide", description=__doc__)
    parser.add_argument("--seconds", type=float, default=900, help="for a block at most")
    for name, port in PORTS.items():
        parser.add_argument(f"--{name}-port", type=int, default=port, help=f"in place of {port}")
    arguments = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ports = {number: getattr(arguments, f"{name}_port") for name, number in PORTS.items()}
    if others := [port for port in ports.values() if taken(port)]:
        # Else the guide's commands would go to whatever that is.
        logger.error("something else listens on port %s", " and ".join(map(str, others)))
        return 2
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
        blocks = guide_blocks()
        if ports != {number: number for number in PORTS.values()}:
            servers = f"localhost:{arguments.broker_port}"
            environment["SEGMENTER_KAFKA__BOOTSTRAP_SERVERS"] = servers
            blocks = [Block(_elsewhere(each.words, ports), each.stays) for each in blocks]
        try:
            with terminals(folder, environment, _ACTIVATE) as opened:
                follow(opened, blocks, told, arguments.seconds)
                logger.info("%5.0f s  all of it", time.monotonic() - began)
        except GuideError as error:
            logger.error("%s", error)
            return 1
    return 0


def _elsewhere(words: str, ports: Mapping[int, int]) -> str:
    for number, port in ports.items():
        words = re.sub(rf"\b{number}\b", str(port), words)
    return words


if __name__ == "__main__":
    sys.exit(main())
