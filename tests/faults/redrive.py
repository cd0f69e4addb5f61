"""Dead letters that are brought back while the workers are at work, by a process that is killed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable
from typing import Any

from consumer.contract.records import Record
from consumer.engine.crash_points import CrashPoint
from consumer.kafka.cluster import Cluster, read_topic
from schemas.dead_letters import read_dead_letter_headers, redrives_of
from tests.faults.processes import Fault, Member
from tests.faults.rig import PARTITIONS, Rig, expect

_NAME = "r0"
_COMMAND = ("dead-letters", "redrive", "--tries", "1")
_POINTS: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent", "committed")


def kill_redrive(rig: Rig, trials: int) -> int:
    """SIGKILL of a redrive inside a transaction, under load; it is started again and again."""
    left = trials

    def next_fault(name: str) -> Fault | None:
        nonlocal left
        if left <= 0 or name != _NAME:
            return None
        left -= 1
        return Fault(_POINTS[left % len(_POINTS)], rig.draw.randint(1, 2), "kill")

    rig.start(next_fault)
    redrive = rig.supervisor.start(rig.spec(_NAME, arguments=_COMMAND))

    def killed() -> int:
        return redrive.exits.count(-signal.SIGKILL)

    rig.until(lambda: killed() >= trials, f"{trials} kills of the redrive", 60 + 60 * trials)
    rig.load.stop()
    rig.recover(measure=False)
    _until_done(rig, redrive)
    rig.supervisor.stop(_NAME, signal.SIGKILL)
    _compare(rig)
    return killed()


def _until_done(rig: Rig, redrive: Member) -> None:
    """Wait for a run that was begun when no dead letter came any more, and for the workers."""
    starts = redrive.starts
    rig.until(
        lambda: redrive.starts > starts + 1 and redrive.exits[-1] == 0, "a run to its end", 120
    )
    unexpected = {*redrive.exits} - {0, -signal.SIGKILL}
    expect(not unexpected, f"the redrive ended with {unexpected}")
    cluster, topic = Cluster(rig.settings.kafka), rig.settings.topics.events
    ends = cluster.ends(topic, range(PARTITIONS))
    rig.until(lambda: rig.watch.caught_up(ends), "what was brought back is not worked off", 60)


def _compare(rig: Rig) -> None:
    """Hold what came back against the dead letters: each record once, and as it was."""
    topics = rig.settings.topics
    letters = [
        each
        for each in read_topic(rig.settings, topics.dead_letters)
        if not redrives_of(each.headers)
    ]
    there = {
        (each.partition, each.offset): each for each in read_topic(rig.settings, topics.events)
    }
    back = [each for each in there.values() if redrives_of(each.headers)]
    said = [read_dead_letter_headers(each.headers) for each in letters]
    refused = [there[each.partition, each.offset] for each in said]
    wanted, found = _counted(refused), _counted(back)
    lost, doubled = wanted - found, found - wanted
    expect(not lost, f"{lost.total()} of {wanted.total()} dead letters were not brought back")
    expect(not doubled, f"{doubled.total()} records came back more than once")
    rig.redriven = [(each.key, each.value or b"") for each in back]
    rig.notes.append(f"{found.total()} records were brought back, each once")


def _counted(records: Iterable[Record]) -> Counter[tuple[Any, ...]]:
    return Counter((each.key, each.value) for each in records)
