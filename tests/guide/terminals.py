"""Terminals in which somebody does what the guide says, block by block."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "getting-started.md"
CONSUMER = "changes.py"
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"segmenter broker .*--port (\d+)")
_STAYS = re.compile(r"segmenter (broker|worker|trainer)\b")


# What the guide says will come: after a block with these words, in which terminal, and what.
_SHOWN = (
    ("segmenter broker", "broker", r"is ready on \S+:{port} "),
    (f"python {CONSUMER}", "changes", r"u-\d+ entered .+ \(first_assignment\)"),
    ("later.jsonl --rate", "changes", r"u-\d+ switched "),
)


class GuideError(Exception):
    """What the guide says does not lead to what it says."""


@dataclass(frozen=True)
class Block:
    """Something to be done.

    Attributes
    ----------
    words
        As the page has them.
    stays
        Its name, where it goes on until somebody stops it; else None.
    """

    words: str
    stays: str | None = None


def guide_blocks(page: Path = GUIDE) -> list[Block]:
    """Give the blocks of the guide in their order; the Python of it is a file that is started."""
    found = []
    for language, words in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            found.append(Block(f"cat > {CONSUMER} <<'END'\n{words}END\n"))
            found.append(Block(f"python {CONSUMER}", "changes"))
        else:
            stays = _STAYS.search(words)
            found.append(Block(words, stays[1] if stays else None))
    return found


@dataclass
class Terminals:
    """All that run in one folder.

    Parameters
    ----------
    folder
        The checkout.
    environment
        Of each terminal.
    first
        What is typed into each new terminal.
    """

    folder: Path
    environment: Mapping[str, str]
    first: str = ""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, words: str, seconds: float) -> str:
        """Run a block to its end, which must be a good one; give what it says."""
        try:
            done = subprocess.run(
                ["bash", "-ec", f"{self.first}\n{words}"],
                cwd=self.folder,
                env=dict(self.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GuideError(f"not done after {seconds:.0f} s: {words}") from error
        if done.returncode:
            raise GuideError(f"ended with {done.returncode}: {words}\n{done.stdout[-3000:]}")
        return done.stdout

    def start(self, block: Block) -> None:
        """Start what stays, in a terminal of its own."""
        name = block.stays or ""
        with self.log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                ["bash", "-ec", f"{self.first}\nexec {block.words.strip()}"],
                cwd=self.folder,
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self, name: str) -> Path:
        """Give the file that has what a terminal shows."""
        return self.folder / f"{name}.log"

    def shows(self, name: str, words: str) -> bool:
        """Tell whether a terminal has shown something."""
        return re.search(words, self.log(name).read_text(errors="replace")) is not None

    def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something that the guide says will come."""
        deadline = time.monotonic() + seconds
        while not condition():
            for name, process in self.running.items():
                if process.poll() is not None:
                    said = self.log(name).read_text(errors="replace")[-3000:]
                    raise GuideError(f"{name} ended with {process.returncode}:\n{said}")
            if time.monotonic() > deadline:
                raise GuideError(f"{what}: not after {seconds:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """Press Ctrl-C in each terminal, the last one first."""
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in reversed(self.running.values()):
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def terminals(folder: Path, environment: Mapping[str, str], first: str = "") -> Iterator[Terminals]:
    """Open terminals; what runs in them is stopped at the end."""
    opened = Terminals(folder, environment, first)
    try:
        yield opened
    finally:
        opened.stop()


def plain_environment(**more: str) -> dict[str, str]:
    """Give the environment of somebody who has set nothing up."""
    hidden = ("SEGMENTER_", "VIRTUAL_ENV", "PYTHONPATH", "PYTEST_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | more


def follow(
    opened: Terminals, blocks: list[Block], told: Callable[[str], None], seconds: float
) -> None:
    """Do block after block, and look whether what the guide says of each comes.

    Parameters
    ----------
    opened
        Where.
    blocks
        What.
    told
        Told each block when it is done.
    seconds
        For which anything is waited for at most.

    Raises
    ------
    GuideError
        Naming what did not come.
    """
    port = next((found[1] for each in blocks if (found := _PORT.search(each.words))), "")
    for block in blocks:
        if block.stays is None:
            opened.run(block.words, seconds)
        else:
            opened.start(block)
        for part, terminal, shown in _SHOWN:
            if part in block.words:
                there = partial(opened.shows, terminal, shown.replace("{port}", port))
                opened.until(there, f"{shown!r} in the terminal of {terminal}", seconds)
        told(block.words.strip().splitlines()[0])
