"""Time to read a worker's state back: from its changelog, and from a checkpoint with the rest.

    python -m benchmarks.restore --users 200000

One run starts a Kafka broker on this machine, writes a changelog of realistic profiles, takes
checkpoints, writes a tail behind them, and then restores by turns without and with the checkpoints.
That is done twice: with sums in fp32, and with such as a table in fp16 holds.
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

    users: int = field(default=200_000, metadata={"help": "users in the changelog"})
    events: int = field(default=3, metadata={"help": "events that each user has had"})
    words: int = field(
        default=0, metadata={"help": "1 where users have words, as those in the sample have"}
    )
    partitions: int = field(default=1, metadata={"help": "partitions they are spread over"})
    tail: int = field(default=1_000, metadata={"help": "records behind the checkpoints"})
    rounds: int = field(default=5, metadata={"help": "restores of each kind"})


@dataclass(frozen=True)
class Took:
    """How long a restore took: seconds on the clock, and of processor time in this process."""

    wall: float
    cpu: float


def restore(
    settings: Settings, store: CheckpointStore | None
) -> tuple[Took, list[Restored], SegmentationStage]:
    """Read all partitions back and give how long it took from the assignment on."""
    stage = SegmentationStage(settings, NoEmbedder(), FixedModel())
    restorer = Restorer(settings, stage, settings.kafka.group_id, store=store)
    started, cpu = time.perf_counter(), time.process_time()
    for partition in range(settings.topics.partitions):
        restorer.start(partition)
    restored: list[Restored] = []
    while len(restored) < settings.topics.partitions:
        restored += restorer.finished()
        time.sleep(0.002)
    took = Took(time.perf_counter() - started, time.process_time() - cpu)
    restorer.close()
    return took, restored, stage


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


def measure(
    settings: Settings, arguments: argparse.Namespace, folder: Path, *, half: bool
) -> Figures:
    """Measure on a cluster that is there; the topics are made, and must be new.

    Seconds are medians over the rounds, and rates those of the fastest: on a machine that others
    use as well, that is nearest to its own.
    """
    kind = {"half": half, "events": arguments.events, "words": bool(arguments.words)}
    store = CheckpointStore(folder / "checkpoints", 12 * 3600)
    create_topics(settings)
    commit_offsets(settings)
    size = fill(settings, range(arguments.users), 0, NoEmbedder.identity, **kind)
    _, restored, stage = restore(settings, store)
    write_seconds = save(stage, restored, store)
    started = time.perf_counter()
    for partition in range(arguments.partitions):
        stage.snapshot(partition)
    snapshot_seconds = (time.perf_counter() - started) / arguments.partitions
    fill(settings, range(arguments.tail), 1, NoEmbedder.identity, **kind)
    del restored, stage
    without: list[Took] = []
    with_it: list[Took] = []
    for number in range(arguments.rounds):
        took, expected, _ = restore(settings, None)
        without.append(took)
        took, found, _ = restore(settings, store)
        with_it.append(took)
        if {each.source for each in found} != {"checkpoint"}:
            raise RuntimeError("a checkpoint was not used")
        check(found, expected)
        print(f"round {number + 1}: changelog {without[-1]}, checkpoint {took}")
        del expected, found
    files = sum(path.stat().st_size for path in (folder / "checkpoints").iterdir())
    return {
        **rates("changelog", without, arguments.users),
        **rates("checkpoint", with_it, arguments.users),
        "snapshot_milliseconds": round(1000 * snapshot_seconds, 1),
        "write_seconds": round(write_seconds, 2),
        "checkpoint_bytes": files,
        "record_bytes": size,
    }


def rates(name: str, rounds: Sequence[Took], users: int) -> Figures:
    """Give seconds and users a second, on the clock and in processor time."""
    walls, cpus = [each.wall for each in rounds], [each.cpu for each in rounds]
    return {
        f"{name}_seconds": round(statistics.median(walls), 3),
        f"{name}_cpu_seconds": round(statistics.median(cpus), 3),
        f"{name}_rounds": [round(each, 3) for each in walls],
        f"{name}_cpu_rounds": [round(each, 3) for each in cpus],
        f"{name}_users_a_second": round(users / min(walls)),
        f"{name}_users_a_cpu_second": round(users / min(cpus)),
    }


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "restore.json")
    add_fields(made, Options)
    return made.parse_args(given)


def measure_all(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Measure on a cluster of its own."""
    with EmbeddedKafka(folder / "kafka") as kafka:
        figures: Figures = {
            **{name: getattr(arguments, name) for name in Options.__dataclass_fields__},
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        for name, half in (("float32", False), ("float16", True)):
            own = folder / name
            own.mkdir()
            settings = Settings(
                kafka={"bootstrap_servers": kafka.bootstrap_servers, "group_id": f"bench-{name}"},
                topics={
                    "partitions": arguments.partitions,
                    "events": f"events-{name}",
                    "profiles": f"profiles-{name}",
                },
                profile={"precision": name},
            )
            figures[name] = measure(settings, arguments, own, half=half)
        return figures


def main() -> None:
    arguments = parse()
    figures = run(arguments, lambda folder: measure_all(arguments, folder))
    print(f"{figures['users']:,} users, {figures['partitions']} partition(s), the fastest round:")
    for name in ("float32", "float16"):
        own = figures[name]
        print(
            "  {name}: {changelog_users_a_second:,} users/s from the changelog, "
            "{checkpoint_users_a_second:,} from a checkpoint; in processor time "
            "{changelog_users_a_cpu_second:,} and {checkpoint_users_a_cpu_second:,}; "
            "{record_bytes:,} bytes a record; taking a checkpoint holds the loop for "
            "{snapshot_milliseconds:g} ms, writing {megabytes:.0f} MB took {write_seconds:g} s "
            "beside it".format(name=name, megabytes=own["checkpoint_bytes"] / 1e6, **own)
        )


if __name__ == "__main__":
    main()
