"""The processes of a soak: workers and a trainer, and their rolling restarts."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.soaking.watching import Watcher
from consumer.kafka.clients import reader_config
from consumer.settings import Settings
from consumer.tryout.demo.processes import Child

TRAINER = "trainer"
LOOK_SECONDS = 0.1
_READY_SECONDS, _ASKED_TIMES = 180, 5


class SoakError(Exception):
    """A process did not do what it should: the figures would say nothing."""


class Ends:
    """Gives the ends of the input's partitions; asks at most twice a second."""

    def __init__(self, settings: Settings) -> None:
        self._client = Consumer({**reader_config(settings.kafka), "group.id": "soak-ends"})
        events, count = settings.topics.events, settings.topics.partitions
        self._places = [TopicPartition(events, number) for number in range(count)]
        self._known: dict[int, int] = {}
        self._asked = 0.0

    def __call__(self) -> dict[int, int]:
        """Give the end by partition, as of half a second ago."""
        if time.monotonic() > self._asked + 0.5:
            with suppress(KafkaException):  # a busy broker is asked again
                self._known = self.now()
            self._asked = time.monotonic()
        return self._known

    def now(self) -> dict[int, int]:
        """Ask for them."""
        asked = {
            place.partition: self._client.get_watermark_offsets(place, timeout=30)
            for place in self._places
        }
        return {number: span[1] for number, span in asked.items() if span is not None}

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class Group:
    """Workers and a trainer, each started again under its own name.

    Parameters
    ----------
    settings
        What all of them have in common.
    folder
        For checkpoints.
    logs
        For logs, one of each process.
    module
        What Python runs (`Child`).
    watcher
        Told of each process.
    """

    def __init__(
        self, settings: Settings, folder: Path, logs: Path, module: str, watcher: Watcher
    ) -> None:
        self.workers: list[str] = []
        self.children: dict[str, Child] = {}
        self.exits: list[str] = []
        """Processes that did not end with 0 when they were told to, in words."""
        self.rebalances = 0.0
        """Callbacks of the group's rebalances in workers while another one was restarted."""
        self.watcher = watcher
        self.settings = settings
        """What whoever is started next has in common with the others."""
        self._folder, self._logs, self._module = folder, logs, module

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children.values():
            child.stop(signal.SIGKILL)

    def start(self, workers: int) -> None:
        """Start a trainer and so many workers, and wait until all are ready."""
        self.workers = [f"worker-{number}" for number in range(workers)]
        for name in (TRAINER, *self.workers):
            self._start(name)
        self.until(lambda: all(child.ready() for child in self.children.values()), "all ready")

    def check(self) -> None:
        """Make sure that all run; raises ChildError."""
        for child in self.children.values():
            child.check()

    def roll(self) -> float:
        """Restart the workers by turns; give the seconds."""
        begun = time.monotonic()
        for name in reversed(self.workers):
            others = [self.children[other] for other in self.workers if other != name]
            before = sum(_rebalances(other) for other in others)
            self._stop(name)
            self._start(name)
            self.until(self.children[name].ready, f"{name} ready again")
            self.rebalances += sum(_rebalances(other) for other in others) - before
        return time.monotonic() - begun

    def scale(self, workers: int) -> None:
        """Start or stop workers, all at once, until there are so many; the last ones go."""
        names = [f"worker-{number}" for number in range(workers)]
        self._stop(*(name for name in self.workers if name not in names))
        come = [name for name in names if name not in self.workers]
        for name in come:
            self._start(name)
        self.workers = names
        self.until(lambda: all(self.children[name].ready() for name in come), "all ready")

    def close(self) -> None:
        """Stop all."""
        for name in list(self.children):
            self._stop(name)

    def models(self) -> list[float]:
        """Give the version of the segment model that each worker has."""
        return [self.children[name].metrics()["segmenter_model_version"] for name in self.workers]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something of the processes.

        Raises
        ------
        SoakError
            If it does not come true in time.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not holds():
            self.check()
            if time.monotonic() > deadline:
                raise SoakError(f"{what}: not after {_READY_SECONDS} s")
            time.sleep(LOOK_SECONDS)

    def _start(self, name: str) -> None:
        number = len(self.watcher.of(name)) + 1
        restore = {"checkpoint_dir": self._folder / "checkpoints" / name}
        settings = self.settings.changed("kafka", instance_id=name).changed("restore", **restore)
        kind = TRAINER if name == TRAINER else "worker"
        child = Child(f"{name}-{number}", [kind], settings, self._logs, self._module)
        self.children[name] = child
        self.watcher.begin(name, child.pid)

    def _stop(self, *names: str) -> None:
        """Stop processes at the same time."""
        for name in names:
            self.watcher.end(name)
            self.children[name].check()
        going = [self.children.pop(name) for name in names]
        with ThreadPoolExecutor(max(len(going), 1)) as threads:
            codes = list(threads.map(lambda child: child.stop(), going))
        for child, code in zip(going, codes, strict=True):
            if code:
                self.exits.append(f"{child.name} ended with exit code {code}")


def _rebalances(child: Child) -> float:
    for _ in range(_ASKED_TIMES):
        if told := child.metrics():  # none where a busy process did not answer in time
            return float(told["segmenter_rebalances_total"])
    raise SoakError(f"{child.name} does not tell its metrics")
