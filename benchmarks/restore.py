"""Time to read a worker's state back: from its changelog, and from a checkpoint with the rest.

    python -m benchmarks.restore --users 100000

One run starts a Kafka broker on this machine, writes a changelog of realistic profiles, takes
checkpoints, writes a tail behind them, and then restores by turns without and with the checkpoints.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from benchmarks.changelog import DIMENSIONS, commit_offsets, fill
from benchmarks.shared import Figures, add_fields, parser, run
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.restoration import ProfileRestoration
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.checkpointer import Checkpointer
from consumer.state.restore import Restorer
from consumer.state.restored import Restored
from consumer.telemetry.metrics import RestoreMetrics
from consumer.tryout.broker import EmbeddedKafka
from models.embedding.runner_types import Vectors


class NoEmbedder:
    """Stands in for the embedding model, which a restore does not run."""

    dimensions = DIMENSIONS
    identity = "b" * 64

    def embed(self, texts: object) -> Vectors:
        raise NotImplementedError("a restore embeds nothing")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    users: int = field(default=100_000, metadata={"help": "users in the changelog"})
    partitions: int = field(default=1, metadata={"help": "partitions they are spread over"})
    tail: int = field(default=1_000, metadata={"help": "records behind the checkpoints"})
    rounds: int = field(default=5, metadata={"help": "restores of each kind"})


def restore(
    settings: Settings, store: CheckpointStore | None
) -> tuple[float, list[Restored], SegmentationStage]:
    """Read all partitions back and give the seconds from the assignment on."""
    stage = SegmentationStage(settings, NoEmbedder(), FixedModel())
    restorer = Restorer(settings, stage, settings.kafka.group_id, store=store)
    started = time.perf_counter()
    for partition in range(settings.topics.partitions):
        restorer.start(partition)
    restored: list[Restored] = []
    while len(restored) < settings.topics.partitions:
        restored += restorer.finished()
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    restorer.close()
    return seconds, restored, stage


def profiles_of(restored: Restored) -> ProfileRestoration:
    if not isinstance(restored.restoration, ProfileRestoration):
        raise TypeError("the stage restores something else than profiles")
    return restored.restoration


def save(stage: SegmentationStage, restored: list[Restored], store: CheckpointStore) -> float:
    """Write checkpoints of what was read back and give the seconds it took."""
    checkpointer = Checkpointer(stage, store, 60, RestoreMetrics(CollectorRegistry()))
    for each in restored:
        stage.assigned(each.partition, profiles_of(each))
        checkpointer.assigned(each)
    started = time.perf_counter()
    checkpointer.save_all()
    checkpointer.close(600)
    return time.perf_counter() - started


def check(found: list[Restored], expected: list[Restored]) -> None:
    """Hold a restore against another: the same users with the same states."""
    tables = {each.partition: profiles_of(each).table for each in expected}
    for each in found:
        table, other = profiles_of(each).table, tables[each.partition]
        users = table.users
        if set(users) != set(other.users):
            raise RuntimeError(f"partition {each.partition} has other users")
        one, two = table.gather(users), other.gather(users)
        same = all((one.arrays()[name] == two.arrays()[name]).all() for name in one.arrays())
        if not same or (one.terms, one.labels) != (two.terms, two.labels):
            raise RuntimeError(f"partition {each.partition} has other states")


def measure(settings: Settings, arguments: argparse.Namespace, folder: Path) -> Figures:
    """Measure on a cluster that is there; the topics are made, and must be new.

    Seconds are medians over the rounds.
    """
    store = CheckpointStore(folder / "checkpoints", 12 * 3600)
    create_topics(settings)
    commit_offsets(settings)
    size = fill(settings, range(arguments.users), 0, NoEmbedder.identity)
    _, restored, stage = restore(settings, store)
    write_seconds = save(stage, restored, store)
    started = time.perf_counter()
    for partition in range(arguments.partitions):
        stage.snapshot(partition)
    snapshot_seconds = (time.perf_counter() - started) / arguments.partitions
    fill(settings, range(arguments.tail), 1, NoEmbedder.identity)
    del restored, stage
    without: list[float] = []
    with_it: list[float] = []
    for number in range(arguments.rounds):
        seconds, expected, _ = restore(settings, None)
        without.append(seconds)
        seconds, found, _ = restore(settings, store)
        with_it.append(seconds)
        if {each.source for each in found} != {"checkpoint"}:
            raise RuntimeError("a checkpoint was not used")
        check(found, expected)
        print(f"round {number + 1}: changelog {without[-1]:.2f} s, checkpoint {seconds:.2f} s")
        del expected, found
    files = sum(path.stat().st_size for path in (folder / "checkpoints").iterdir())
    slow, fast = statistics.median(without), statistics.median(with_it)
    return {
        "users": arguments.users,
        "partitions": arguments.partitions,
        "tail_records": arguments.tail,
        "rounds": arguments.rounds,
        "changelog_seconds": round(slow, 3),
        "checkpoint_seconds": round(fast, 3),
        "ratio": round(slow / fast, 1),
        "changelog_rounds": [round(each, 3) for each in without],
        "checkpoint_rounds": [round(each, 3) for each in with_it],
        "snapshot_milliseconds": round(1000 * snapshot_seconds, 1),
        "write_seconds": round(write_seconds, 2),
        "checkpoint_bytes": files,
        "record_bytes": size,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "restore.json")
    add_fields(made, Options)
    return made.parse_args(given)


def measure_all(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Measure on a cluster of its own."""
    with EmbeddedKafka(folder / "kafka") as kafka:
        settings = Settings(
            kafka={"bootstrap_servers": kafka.bootstrap_servers, "group_id": "benchmark"},
            topics={"partitions": arguments.partitions},
        )
        return measure(settings, arguments, folder)


def main() -> None:
    arguments = parse()
    figures = run(arguments, lambda folder: measure_all(arguments, folder))
    megabytes = figures["checkpoint_bytes"] / 1e6
    print(
        "{users:,} users, {partitions} partition(s), {tail_records:,} records behind the "
        "checkpoint, median of {rounds}:\n"
        "  changelog   {changelog_seconds:7.2f} s\n"
        "  checkpoint  {checkpoint_seconds:7.2f} s   {ratio:g} times as fast\n"
        "  taking one holds the loop for {snapshot_milliseconds:g} ms; writing {megabytes:.0f} MB "
        "took {write_seconds:g} s beside it".format(megabytes=megabytes, **figures)
    )


if __name__ == "__main__":
    main()
