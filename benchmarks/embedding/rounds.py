"""Contenders by turns: a process each, kept alive, which does one pass at a time when told to.

So a slow minute of the machine falls on all of them, and no one's memory, threads or allocator
are in another's way. While one works the others wait at a pipe.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.shared import ROOT


class ContenderError(RuntimeError):
    """A contender's process ended, or could not begin."""


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes
    ----------
    name
        Short, for the command line and the figures.
    label
        What it is, for people.
    engine
        ``module:Class`` of what its process runs.
    options
        Arguments of that class.
    precision
        Type of the numbers in its dense layers; empty for what embeds nothing.
    peer
        Whether it is no part of this product.
    python
        The interpreter that has its packages.
    """

    name: str
    label: str
    engine: str
    options: Mapping[str, Any]
    precision: str = ""
    peer: bool = True
    python: str = sys.executable


@dataclass
class Pass:
    """What one pass over the texts took.

    Attributes
    ----------
    seconds
        By the clock.
    processor_seconds
        Of all cores together.
    """

    seconds: float
    processor_seconds: float


class Child:
    """A contender's process.

    Parameters
    ----------
    contender
        What it runs.
    texts
        JSON file of what it embeds.
    threads
        Threads and cores that it gets.
    setting
        How to set it up; by default the fastest way is found first.
    """

    def __init__(
        self,
        contender: Contender,
        texts: Path,
        threads: int,
        setting: Mapping[str, Any] | None = None,
    ) -> None:
        self.contender = contender
        order = {
            "engine": contender.engine,
            "options": dict(contender.options),
            "texts": str(texts),
            "threads": threads,
            "setting": setting,
        }
        # A file, not a pipe: what libraries print must never make the process wait.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [contender.python, "-m", "benchmarks.embedding.child", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=environment(threads),
        )
        try:
            self.ready = self._answer()
        except ContenderError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises
        ------
        ContenderError
            If the process ends instead.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self._answer()

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failed(self) -> ContenderError:
        code = self._process.wait()
        self._errors.seek(0)
        said = [line for line in self._errors.read().splitlines() if line.strip()]
        reason = said[-1].strip() if said else "it said nothing"
        return ContenderError(f"{self.contender.name} ended with {code}: {reason}")


def environment(threads: int) -> dict[str, str]:
    """Give the environment of a contender: so many threads, and nothing from the network."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def started(
    contenders: Sequence[Contender], texts: Path, threads: int, say: Callable[[str], None]
) -> Iterator[tuple[dict[str, Child], dict[str, str]]]:
    """Start the contenders one after the other; gives those that did and why the others did not."""
    children: dict[str, Child] = {}
    failed: dict[str, str] = {}
    try:
        for contender in contenders:
            try:
                child = Child(contender, texts, threads)
            except ContenderError as error:
                failed[contender.name] = str(error)
                say(f"{error}")
            else:
                children[contender.name] = child
                say(f"{contender.name} is ready: {child.ready['setting']}")
        yield children, failed
    finally:
        for child in children.values():
            child.close()


def turns(names: Sequence[str], rounds: int, seed: int = 0) -> Iterator[list[str]]:
    """Give the order of each round: every name once, drawn anew, so that none follows another."""
    draw = random.Random(seed)
    for _ in range(rounds):
        order = list(names)
        draw.shuffle(order)
        yield order


@dataclass
class Measured:
    """All that the rounds gave, by contender.

    Attributes
    ----------
    passes
        One a round.
    peaks
        Operations a second by type of number: what was seen at best.
    """

    passes: dict[str, list[Pass]] = field(default_factory=dict)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)


def measure(children: Mapping[str, Child], rounds: int, say: Callable[[str], None]) -> Measured:
    """Do the rounds; contenders without a precision are asked for the machine's peak."""
    found = Measured()
    for number, order in enumerate(turns(list(children), rounds), 1):
        for name in order:
            child = children[name]
            if not child.contender.precision:
                best = found.peaks.setdefault(name, {})
                for kind, flops in child.ask("peak").items():
                    best[kind] = max(flops, best.get(kind, 0.0))
            else:
                found.passes.setdefault(name, []).append(Pass(**child.ask("round")))
        took = {name: f"{each[-1].seconds:.2f}" for name, each in sorted(found.passes.items())}
        say(f"round {number}, seconds: " + ", ".join(f"{n} {s}" for n, s in took.items()))
    return found
