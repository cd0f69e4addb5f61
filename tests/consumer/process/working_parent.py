"""A process with children, for tests that end it: `python -m` this.

It says who its children are, has one of them wait for a file, and says when that is done. A signal
to end it only makes it say so.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from consumer.process.children import Children
from consumer.settings import LogSettings
from tests.consumer.process.jobs import answering


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(file: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: say(f"signal {number}"))
    with (
        Children(answering, "spec", 2, log=LogSettings()) as children,
        ThreadPoolExecutor(1) as pool,
    ):
        say(json.dumps(children.pids))
        asked = pool.submit(children, ("wait", file))
        # A signal that comes just before the main thread waits for a lock is heard after that only.
        while not asked.done():
            time.sleep(0.05)
        asked.result()
        say(f"answered, {children.restarts} restarts")


if __name__ == "__main__":
    main(sys.argv[1])
