"""A group that is stopped, reset by a process that is killed, and started again, under load."""

from __future__ import annotations

import signal
from typing import Any

from consumer.engine.crash_points import CrashPoint
from consumer.kafka.cluster import read_topic
from schemas.profiles import ProfileRecord
from schemas.states import read_profile
from tests.consumer.kafka_runs import placeless, replayed
from tests.faults.processes import Fault
from tests.faults.rig import Rig, expect
from tests.stubs import HashingEmbedder

_NAME = "s0"
_POINTS: tuple[CrashPoint, ...] = ("produced", "offsets_sent", "committed")
# Where a user stands; the rest is what was learned of the user.
_STANDING = {
    *("segment", "segment_label", "segment_since_event", "sequence", "model_version", "labels"),
}


def kill_reset(rig: Rig, trials: int) -> int:
    """SIGKILL of a reset inside of a transaction; the next run does it, and the group goes on."""
    rig.start()
    for number in range(trials):
        rig.pause(0.5, 1.5)
        names = list(rig.supervisor.members)
        for name in names:
            rig.supervisor.stop(name)
        fault = Fault(_POINTS[number % len(_POINTS)], rig.draw.randint(2, 6), "kill")
        rig.watch.may_go_back = True
        reset = rig.supervisor.start(rig.spec(_NAME, arguments=("reset", "--execute"), fault=fault))
        # The supervisor starts again what was killed.
        rig.until(lambda r=reset: 0 in r.exits, "the reset is done", 90)
        expect(reset.exits[:2] == [-signal.SIGKILL, 0], f"the reset ended with {reset.exits}")
        rig.supervisor.stop(_NAME, signal.SIGKILL)
        rig.until(lambda: not any(rig.watch.committed.values()), "the group is at its beginning")
        rig.watch.may_go_back = False
        rig.start_trainer()
        for name in names:
            if name.startswith("w"):
                rig.start_worker(name)
        rig.recover(measure=False)
    rig.load.stop()
    rig.recover(measure=False)
    _compare(rig)
    return trials


def _compare(rig: Rig) -> None:
    """Hold what is known of users against a replay of all that there is."""
    embedder = HashingEmbedder()
    replay, _ = replayed(rig.settings, rig.load.pairs, embedder, rig.model)
    table, found = replay.segmentation.tables[0], {}
    for record in read_topic(rig.settings, rig.settings.topics.profiles):
        if record.value is not None:
            read = read_profile(record.key or b"", record.value)
            found[read.user_id] = read
    differing = [
        user
        for user in table.users
        if user not in found
        or learned(found[user]) != learned(table.gather([user]).to_record(0, embedder.identity))
    ]
    count = len(table.users)
    expect(not differing, f"{len(differing)} of {count} users are not as in a replay")
    rig.notes.append(f"{count} users are as in a replay of the whole input, bit for bit")


def learned(record: ProfileRecord) -> dict[str, Any]:
    """Give what was learned of a user, without where the user stands."""
    return placeless(record).model_dump(exclude=_STANDING)
