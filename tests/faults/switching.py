"""A running group goes to another embedding model under load, and processes are killed amid it."""

from __future__ import annotations

import signal
import time

from consumer.engine.crash_points import CrashPoint
from consumer.kafka.cluster import read_topic
from consumer.kafka.topics import create_topics
from consumer.versions.read import find
from models.embedding.policy import FormerPolicy
from schemas.states import read_profile
from tests.consumer.kafka_runs import changes_of, replayed
from tests.faults.load import fixed_model
from tests.faults.processes import Fault, embedder_of
from tests.faults.reset import learned
from tests.faults.rig import Rig, StuckError, expect

_COMMAND = "m0"
_NAMES = "default", "hashing-48"
_POINTS: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent", "committed", "merged")
# For a change without a kill, and more for each: what was killed has to start and read back, and on
# a busy machine events come meanwhile.
_GIVE_UP_SECONDS, _MORE_SECONDS = 240.0, 30.0


def switched(rig: Rig, trials: int) -> int:
    """From one model to another and back; every process is killed meanwhile, the command as well.

    Workers are killed inside of the transactions that take partitions over, too. In the end every
    profile is, to the bit, what the model makes of the whole input, and nobody was without a
    segment in between.
    """
    rig.start()
    rig.until(lambda: find(rig.settings).current is not None, "a version of the segments", 90)
    kills = 0
    for number in range(trials):
        former, following = _NAMES[number % 2], _NAMES[(number + 1) % 2]
        _restart_workers(rig, following, former)
        kills += _amid_kills(rig, number)
        _restart_workers(rig, following, None)
        rig.recover(measure=False)
    rig.load.stop()
    rig.recover(measure=False)
    _compare(rig, _NAMES[trials % 2])
    rig.notes.append(f"{trials} changes of the model, {kills} processes killed amid them")
    return trials


def _restart_workers(rig: Rig, model: str, former: str | None) -> None:
    """One worker after the other with other settings, as a rolling restart does."""
    policy = FormerPolicy(model=former)
    rig.settings = rig.settings.changed("embedding", model=model, former=policy)
    create_topics(rig.settings)
    for worker in list(rig.workers):
        code = rig.supervisor.restart(worker.spec.name, rig.spec(worker.spec.name))
        expect(code == 0, f"{worker.spec.name} stopped with exit code {code}")
        rig.recover(measure=False)


def _amid_kills(rig: Rig, number: int) -> int:
    """Run the command, and kill what there is until it is done; give the number of kills."""
    inside = 4
    kills = 0

    def next_fault(name: str) -> Fault | None:
        nonlocal inside
        if not name.startswith("w") or inside <= 0 or rig.draw.random() < 0.5:
            return None
        inside -= 1
        return Fault(rig.draw.choice(_POINTS), rig.draw.randint(1, 8), "kill")

    rig.supervisor.next_fault = next_fault
    # The command has no loop, so it merges nothing.
    fault = Fault(_POINTS[number % (len(_POINTS) - 1)], rig.draw.randint(1, 8), "kill")
    command = rig.supervisor.start(
        rig.spec(_COMMAND, arguments=("migrate", "--running"), fault=fault)
    )
    begun = time.monotonic()
    while 0 not in command.exits:
        if time.monotonic() - begun > (patience := _GIVE_UP_SECONDS + kills * _MORE_SECONDS):
            raise StuckError(f"the model is not changed after {patience:.0f} s")
        time.sleep(rig.draw.uniform(0.3, 2.5))
        if kills < 12:
            victim = rig.draw.choice(list(rig.supervisor.members.values()))
            victim.signal(signal.SIGKILL)
            kills += 1
    unexpected = {*command.exits} - {0, -signal.SIGKILL}
    expect(not unexpected, f"the command ended with {command.exits}")
    rig.supervisor.next_fault = lambda _name: None
    rig.supervisor.stop(_COMMAND, signal.SIGKILL)
    rig.recover(measure=False)
    return kills + sum(code == -signal.SIGKILL for code in command.exits)


def _compare(rig: Rig, model: str) -> None:
    """Hold profiles against a replay under the model, and look whether anybody had no segment."""
    embedder = embedder_of(model)
    replay, _ = replayed(rig.settings, rig.load.pairs, embedder, fixed_model(embedder))
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
    expect(not differing, f"{len(differing)} of {count} users are not as in a replay: {differing}")
    changes = changes_of(rig.settings)
    without = [change.user_id for change in changes if change.segment is None]
    expect(not without, f"{len(without)} changes leave a user without a segment")
    moved = [each for each in changes if each.cause == "operator"]
    # A worker that has skipped versions says what became of a segment in those.
    reasons = {each.reason for each in moved} - {"segment_merged", "segment_split"}
    expect(reasons <= {"model_update"}, f"changes of the operator's have the reasons {reasons}")
    built: dict[bytes | None, bytes | None] = {}
    for record in read_topic(rig.settings, rig.settings.topics.next_profiles):
        built[record.key] = record.value
    left = sum(value is not None for value in built.values())
    expect(not left, f"{left} profiles that were built beside are left")
    rig.notes.append(
        f"{count} users are as in a replay of the whole input, bit for bit; {len(moved)} moves "
        "by the change of the model"
    )
