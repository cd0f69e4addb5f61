"""The faults, one function each: what goes wrong, how often, and what must hold meanwhile.

Every scenario runs under load with three workers and a trainer unless it says otherwise. What must
hold in all of them is judged afterwards (`tests.faults.oracle`); what must hold in one only is
checked in it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from consumer.engine.crash_points import CrashPoint
from tests.faults.disk import SmallDisk
from tests.faults.former import from_former
from tests.faults.gone import made_anew, retention
from tests.faults.load import NOT_A_NUMBER, POISONS
from tests.faults.network import Wire
from tests.faults.preparing import PREPARING, kill_preparing
from tests.faults.processes import Fault, Member
from tests.faults.recommending import RECOMMENDED, kill_recommenders
from tests.faults.redrive import kill_redrive
from tests.faults.reset import kill_reset
from tests.faults.rig import (
    PARTITIONS,
    SESSION_SECONDS,
    TRANSACTION_SECONDS,
    Options,
    Rig,
    expect,
)
from tests.faults.rollback import rolled_back
from tests.faults.ruling import RULED, kill_rules
from tests.faults.switching import switched

AMID: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent")
_DEAD_TRANSACTION_SECONDS = 8
MAX_POLL_SECONDS = 6.0
ROUND: tuple[CrashPoint, ...] = (*AMID, "committed", "merged", "before_begin")


@dataclass(frozen=True)
class Scenario:
    """A fault, how many trials it gets, and what it runs on.

    `run` injects the fault `trials` times and gives how many of them happened.
    """

    name: str
    title: str
    run: Callable[[Rig, int], int]
    trials: int
    few: int
    """Trials in the short selection."""
    options: Options = field(default_factory=Options)
    needs: str | None = None
    """A `wire` or a `disk`, for which the machine must allow namespaces (`tests.faults.lab`), or
    the `former` build, for which the repository must hold it."""


# --- kills ----------------------------------------------------------------------------------


def kill_at_points(rig: Rig, trials: int) -> int:
    """SIGKILL inside a transaction; the process is started again at once."""
    left = trials

    def next_fault(name: str) -> Fault | None:
        nonlocal left
        # The third worker lives on, so that there is always one to take over.
        if left <= 0 or name not in ("w0", "w1"):
            return None
        left -= 1
        return Fault(AMID[left % len(AMID)], rig.draw.randint(1, 12), "kill")

    rig.start(next_fault)
    for name in ("w0", "w1"):
        rig.supervisor.restart(name)

    def killed() -> int:
        return sum(code == -signal.SIGKILL for w in rig.workers for code in w.exits)

    rig.until(lambda: killed() >= trials, f"{trials} kills", 60 + 12 * trials)
    rig.recover(measure=False)
    return killed()


def kill_intake(rig: Rig, trials: int) -> int:
    """SIGKILL of intake inside a transaction; the process is started again at once."""
    left = trials

    def next_fault(name: str) -> Fault | None:
        nonlocal left
        if left <= 0 or not name.startswith("i"):
            return None
        left -= 1
        return Fault(AMID[left % len(AMID)], rig.draw.randint(1, 12), "kill")

    rig.start(next_fault)
    for intake in list(rig.intakes):
        rig.supervisor.restart(intake.spec.name)

    def killed() -> int:
        return sum(code == -signal.SIGKILL for each in rig.intakes for code in each.exits)

    rig.until(lambda: killed() >= trials, f"{trials} kills of intake", 60 + 12 * trials)
    rig.recover(measure=False)
    return killed()


def kill_at_any_time(rig: Rig, trials: int) -> int:
    """SIGKILL from outside at random times, of one worker or two at once."""
    rig.start()
    done = 0
    while done < trials:
        rig.pause(0.2, 1.5)
        victims = rig.draw.sample(rig.workers, min(rig.draw.choice((1, 1, 2)), trials - done))
        for victim in victims:
            victim.signal(signal.SIGKILL)
        done += len(victims)
        rig.recover(measure=False)
    return done


def kill_with_trainer(rig: Rig, trials: int) -> int:
    """SIGKILL of workers and of the trainer, with workers that follow the trainer's model."""
    rig.start()
    for _ in range(trials):
        rig.pause(0.3, 2.0)
        victim = rig.draw.choice(list(rig.supervisor.members.values()))
        victim.signal(signal.SIGKILL)
        rig.recover(measure=False)
    return trials


# --- zombies --------------------------------------------------------------------------------


def late_zombies(rig: Rig, trials: int) -> int:
    """Zombies that learn only between two transactions that the group has gone on."""
    return zombies(rig, trials, ("before_begin",), ("dawdle",))


def zombies(
    rig: Rig,
    trials: int,
    points: tuple[CrashPoint | None, ...] = (*ROUND, None),
    actions: tuple[str, ...] = ("suspend", "dawdle"),
) -> int:
    """SIGSTOP past the session's end, at chosen points of a transaction and at any time."""
    rig.start()
    done = 0
    while done < trials:
        name = f"w{rig.draw.randrange(len(rig.workers))}"
        point = rig.draw.choice(points)
        if point is None:
            victim = rig.supervisor.members[name]
            rig.pause(0.1, 1.0)
            victim.signal(signal.SIGSTOP)
        else:
            rig.supervisor.stop(name)
            action = rig.draw.choice(actions)
            fault = Fault(point, rig.draw.randint(2, 8), action)
            victim = rig.start_worker(name, fault=fault)
            rig.until(lambda victim=victim: _stopped(victim.pid), "a worker suspends itself", 90)
        # The others take over once the session is over, and then go on without it.
        time.sleep(SESSION_SECONDS + 1)
        rig.recover()
        exits = len(victim.exits)
        victim.signal(signal.SIGCONT)
        rig.until(lambda v=victim, n=exits: len(v.exits) > n, f"the zombie {name} ends", 30)
        expect(victim.exits[-1] == 3, f"the zombie {name} ended with exit code {victim.exits[-1]}")
        done += 1
        rig.recover(measure=False)
    return done


def _stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


# --- the end of transactions ----------------------------------------------------------------


def lost_answers(rig: Rig, trials: int) -> int:
    """The answer to EndTxn never comes, or the request never arrives."""
    return _inside(rig, trials, "offsets_sent", ("lose_answer", "lose_request"), most=3)


def refused(rig: Rig, trials: int) -> int:
    """A transaction whose records and offsets are with the brokers has to be aborted."""
    return _inside(rig, trials, "offsets_sent", ("refuse",))


def _inside(
    rig: Rig, trials: int, point: CrashPoint, actions: tuple[str, ...], most: int = 10
) -> int:
    """Have something go wrong inside of a worker that must survive it."""
    rig.start()
    for number in range(trials):
        name = f"w{rig.draw.randrange(len(rig.workers))}"
        fault = Fault(point, rig.draw.randint(1, most), actions[number % len(actions)])
        rig.supervisor.stop(name)
        victim = rig.start_worker(name, fault=fault)
        before = victim.faults_met()
        rig.until(lambda v=victim, b=before: v.faults_met() > b, fault.action, 60)
        rig.recover()
        expect(not victim.exits, f"{name} ended after {fault.action}: {victim.exits}")
    return trials


def frozen_at_the_end(rig: Rig, trials: int) -> int:
    """All brokers freeze just before EndTxn, until after the client has given up."""
    rig.start()
    pids = tuple(rig.kafka.pid(index) or 0 for index in range(rig.kafka.brokers))
    for _ in range(trials):
        name = f"w{rig.draw.randrange(len(rig.workers))}"
        fault = Fault("offsets_sent", rig.draw.randint(2, 10), "freeze_brokers", pids)
        rig.supervisor.stop(name)
        victim = rig.start_worker(name, fault=fault)
        before = victim.faults_met()
        rig.until(lambda v=victim, b=before: v.faults_met() > b, "the brokers freeze", 60)
        time.sleep(TRANSACTION_SECONDS + rig.draw.uniform(0.5, 2.5))
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        rig.recover()
    return trials


def open_transaction(rig: Rig, trials: int) -> int:
    """A dead writer's transaction stands open in the changelog while state is read back."""
    rig.start()
    for number in range(trials):
        dead = Producer(
            {
                **rig.settings.kafka.client(),
                "transactional.id": f"{rig.settings.kafka.group_id}-dead-{number}",
                "transaction.timeout.ms": _DEAD_TRANSACTION_SECONDS * 1000,
                "log_level": 0,
            }
        )
        dead.init_transactions(30)
        dead.begin_transaction()
        for partition in range(rig.settings.topics.partitions):
            dead.produce(
                rig.settings.topics.profiles, b"not a profile", b"ghost", partition=partition
            )
        dead.flush(30)
        rig.pause(1.0, 2.0)
        # Committed records now lie behind the open transaction; a restart has to find them.
        for worker in rig.workers:
            worker.signal(signal.SIGKILL)
        rig.recover()
        dead.purge()
    # The brokers end it a little later than that; until then it does hold readers back.
    time.sleep(_DEAD_TRANSACTION_SECONDS + 2)
    return trials


# --- brokers --------------------------------------------------------------------------------


def bounce(rig: Rig, trials: int, kind: str) -> int:
    """Brokers go and come back, one after the other: stopped cleanly, killed, or frozen."""
    rig.start()
    first = rig.draw.randrange(rig.kafka.brokers)
    for number in range(trials):
        index = (first + number) % rig.kafka.brokers
        begun = time.monotonic()
        if kind == "freeze":
            rig.kafka.pause(index)
            rig.pause(2.0, 8.0)
            rig.kafka.resume(index)
        else:
            if kind == "stop":
                rig.kafka.stop(index)
            else:
                rig.kafka.kill(index)
                # Back before, it may tear a transaction apart, and no client can help that.
                rig.kafka.await_fenced(index)
            rig.pause(0.5, 3.0)
            rig.kafka.start(index)
        rig.kafka.await_in_sync()
        rig.recover(measure=False)
        rig.watch.recoveries.append(time.monotonic() - begun)
    return trials


# --- restarts and scale ---------------------------------------------------------------------


def rolling_restart(rig: Rig, trials: int) -> int:
    """Every worker is restarted in turn under its own name: no other one notices."""
    rig.start()
    _settle(rig)
    for _ in range(trials):
        for name in ("w0", "w1", "w2"):
            others = [w for w in rig.workers if w.spec.name != name]
            before = [_assignments(other) for other in others]
            code = rig.supervisor.restart(name)
            expect(code == 0, f"{name} stopped with exit code {code}")
            rig.recover()
            after = [_assignments(other) for other in others]
            expect(before == after, f"the restart of {name} rebalanced the others")
    stalls = rig.watch.stalls()
    parts = ", ".join(f"{n}: {stalls.get(n, 0.0):.1f}" for n in range(6))
    rig.notes.append(f"pause for each partition, seconds: {parts}; 0 rebalances of others")
    return 3 * trials


def _settle(rig: Rig) -> None:
    """Wait until the rebalancing of the start is over: cooperative, it takes several rounds."""
    while True:
        before = [_assignments(worker) for worker in rig.workers]
        time.sleep(SESSION_SECONDS)
        if before == [_assignments(worker) for worker in rig.workers] and all(before):
            break
    rig.watch.mark()


def _assignments(member: Member) -> int:
    """Count what the group has given a process and taken from it, by its log."""
    text = member.spec.log.read_text(errors="replace")
    return sum(
        text.count(f"consumer.engine.membership: {word}: ")
        for word in ("assigned", "revoke", "lost")
    )


def killed_amid_rebalance(rig: Rig, trials: int) -> int:
    """SIGKILL of a static member that has just been told to give partitions up; it is back at once.

    Nobody begins the second round of that rebalance: the workers have to notice.
    """
    rig.start()
    for _ in range(trials):
        for name in ("w1", "w2"):
            rig.supervisor.stop(name)
        rig.supervisor.stop("w0")
        time.sleep(SESSION_SECONDS + 1)
        alone = rig.start_worker("w0", fault=Fault("revoking", 1, "kill"))
        rig.recover(measure=False)
        for name in ("w1", "w2"):
            rig.start_worker(name)
        rig.until(lambda w=alone: bool(w.exits), "a worker is killed amid a rebalance", 60)
        rig.recover(measure=False)
    return trials


def scale(rig: Rig, trials: int) -> int:
    """From 3 workers to 1 to 4 and back to 3 under load."""
    rig.start()
    for _ in range(trials):
        for name in ("w1", "w2"):
            rig.supervisor.stop(name, rig.draw.choice((signal.SIGTERM, signal.SIGKILL)))
        rig.recover()
        for name in ("w1", "w2", "w3"):
            rig.start_worker(name)
        rig.pause(0.5, 2.0)
        rig.recover()
        rig.supervisor.stop("w3")
        rig.recover()
    return trials


# --- the network ----------------------------------------------------------------------------


def cut(rig: Rig, trials: int, what: str) -> int:
    """One worker's network is cut for a while: from the coordinator, from all, or one way."""
    with Wire(seed=rig.draw.randrange(1 << 30)) as wire:
        rig.namespace = wire.namespace
        rig.start()
        for _ in range(trials):
            rig.pause(0.5, 1.5)
            if what == "coordinator":
                wire.set(cut="both", ports=[rig.coordinator_port()])
            else:
                wire.set(cut=what)
            time.sleep(rig.draw.uniform(1.0, 2.5 * SESSION_SECONDS))
            wire.heal()
            rig.recover()
        rig.supervisor.stop("w0")
    return trials


def slow_link(rig: Rig, trials: int) -> int:
    """One worker behind 100 ms each way and 5 % loss."""
    with Wire(seed=rig.draw.randrange(1 << 30)) as wire:
        rig.namespace = wire.namespace
        rig.start()
        for _ in range(trials):
            wire.set(delay=0.1, loss=0.05)
            rig.pause(8.0, 12.0)
            rig.recover()
            wire.heal()
            rig.pause(1.0, 2.0)
        rig.supervisor.stop("w0")
    return trials


# --- disks, devices, deployments ------------------------------------------------------------


def disk_full(rig: Rig, trials: int) -> int:
    """The disk of a worker's checkpoints is full: it goes on, and restores from the changelog."""
    folder = rig.folder / "small"
    with SmallDisk(folder, 1) as disk:
        rig.checkpoints = folder
        rig.start()
        log = rig.spec("w0").log
        for _ in range(trials):
            victim = rig.supervisor.members["w0"]
            disk.fill()
            said = _count(log, "cannot write the checkpoint")
            rig.until(
                lambda n=said: _count(log, "cannot write the checkpoint") > n, "a full disk", 30
            )
            rig.recover(measure=False)
            expect(not victim.exits, f"w0 ended on a full disk: {victim.exits}")
            victim.signal(signal.SIGKILL)
            rig.recover(measure=False)
            disk.free()
            rig.pause(2.0, 3.0)
            victim.exits.clear()
        rig.supervisor.stop("w0")
    return trials


def slow_device(rig: Rig, trials: int) -> int:
    """A batch takes longer to embed than the group waits for a poll; or for ever."""
    rig.start()
    for number in range(trials):
        hangs = number % 2 == 1
        rig.supervisor.stop("w0")
        seconds = 3600.0 if hangs else MAX_POLL_SECONDS + 4.0
        victim = rig.start_worker("w0", slow=(rig.draw.randint(2, 5), seconds))
        began = victim.spec.log.stat().st_size
        if hangs:
            rig.until(lambda v=victim: bool(v.exits), "a hung device ends the worker", 60)
            expect(victim.exits == [3], f"a hung device ended w0 with {victim.exits}")
        else:
            rig.until(lambda b=began: "takes long to prepare" in _since(rig, b), "a pause", 60)
            time.sleep(seconds)
            expect(not victim.exits, f"w0 ended: {victim.exits}")
            expect(" lost: " not in _since(rig, began), "a slow device cost w0 its partitions")
        rig.recover()
    return trials


def _since(rig: Rig, size: int) -> str:
    with rig.spec("w0").log.open("rb") as file:
        file.seek(size)
        return file.read().decode(errors="replace")


def _count(log: Path, words: str) -> int:
    return log.read_text(errors="replace").count(words)


def other_embedding(rig: Rig, trials: int) -> int:
    """A worker with another embedding model meets the group's state: it is refused."""
    rig.start()
    for _ in range(trials):
        rig.supervisor.stop("w0")
        stranger = rig.start_worker("w0", dimensions=32, arguments=("worker",))
        rig.until(lambda s=stranger: bool(s.exits), "the other model is refused", 60)
        expect(stranger.exits[0] == 3, f"the other model ended with {stranger.exits}")
        # Whichever it meets first: a profile, or the trainer's segments.
        refusals = ("profiles of two models cannot be mixed", "was learned on the embedding model")
        said = sum(_count(stranger.spec.log, refusal) for refusal in refusals)
        expect(said > 0, f"w0 says neither: {' nor: '.join(refusals)}")
        rig.supervisor.stop("w0")
        rig.start_worker("w0")
        rig.recover()
    return trials


def raised_partitions(rig: Rig, trials: int) -> int:
    """An operator raises the number of partitions: no worker starts."""
    rig.start()
    rig.load.stop()
    rig.recover(measure=False)
    for worker in list(rig.workers):
        rig.supervisor.stop(worker.spec.name)
    admin = AdminClient({**rig.settings.kafka.client(), "log_level": 0})
    wanted = [NewPartitions(name, PARTITIONS + 2) for name in rig.both_sides()]
    for future in admin.create_partitions(wanted).values():
        future.result(30)
    for number in range(trials):
        member = rig.start_worker(f"w{number}")
        rig.until(lambda m=member: bool(m.exits), "the start is refused", 60)
        expect(member.exits[0] == 3, f"the start ended with {member.exits}")
        said = f"this group's state was made with {PARTITIONS}"
        expect(_count(member.spec.log, said) > 0, f"the refusal does not say: {said}")
        rig.supervisor.stop(f"w{number}")
    return trials


def rolling_upgrade(rig: Rig, trials: int) -> int:
    """To a build with newer formats under load: a worker and back, the trainer too early, the rest.

    What an older build cannot read it drops (a checkpoint, which is a copy), keeps out (a segment
    model while it has one) or refuses to start with (the same, when it has none).
    """
    rig.start()

    def upgrade(name: str, *, newer: bool = True) -> None:
        code = rig.supervisor.restart(name, rig.spec(name, newer=newer))
        expect(code == 0, f"{name} stopped with exit code {code}")
        rig.recover()

    for _ in range(trials):
        upgrade("w1")
        rig.pause(2.0, 3.0)
        upgrade("w1", newer=False)
        log = rig.spec("w1").log
        expect(_count(log, "is dropped (future)") > 0, "no newer checkpoint was met")
        rig.supervisor.restart("t0", rig.spec("t0", arguments=("trainer",), newer=True))
        for name in ("w0", "w1", "w2"):
            log = rig.spec(name).log
            rig.until(
                lambda path=log: _count(path, "keeping version") > 0, f"{name} meets a newer model"
            )
        rig.recover()
        older = rig.supervisor.members["w2"]
        older.signal(signal.SIGKILL)
        rig.until(lambda o=older: len(o.exits) > 1, "an older worker is refused", 30)
        expect(older.exits[1] == 3, f"an older worker ended with {older.exits}")
        expect(_count(older.spec.log, "upgrade this process") > 0, "it does not say why")
        rig.supervisor.stop("w2")
        rig.start_worker("w2", newer=True)
        for name in ("w0", "w1"):
            upgrade(name)
    return trials


UNNAMED = Options(named=False)
SLOW_LINK = Options(
    sections={
        "batch": {"max_records": 500},
        "kafka": {"transaction_timeout_seconds": 8, "session_timeout_seconds": 12},
    }
)
SLOW_DEVICE = Options(
    sections={
        "batch": {"max_records": 20, "prepare_timeout_seconds": 15},
        "kafka": {"max_poll_interval_seconds": MAX_POLL_SECONDS},
    }
)
# Each of them changes somebody's segment, so that one that counts twice is seen to.
LARGE_BATCHES = Options(sections={"batch": {"max_wait_seconds": 1.0}})
# What is read again moves users again: by then verify alone can judge the chains.
RESET = Options(judged_by_replay=False, followed=True, sections={"batch": {"reassign_users": 4}})
INTAKE = Options(workers=1, intakes=2, trainer=False)
FOLLOWED = Options(followed=True)
# What the former build takes as this one does. Their margins are of other kinds, so there is none.
ALIKE = Options(
    former=True,
    followed=True,
    poisons=tuple(kind for kind in POISONS if kind != NOT_A_NUMBER),
    sections={"assignment": {"dwell_events": 1, "margin_share": 0, "thin_margin_share": 0}},
)
LIVE = Options(live_model=True, followed=True)
# Users are taken over in small pieces, so that kills come amid them.
SWITCHED = Options(live_model=True, followed=True, sections={"batch": {"reassign_users": 4}})


def _bounce(kind: str) -> Callable[[Rig, int], int]:
    return lambda rig, trials: bounce(rig, trials, kind)


def _cut(what: str) -> Callable[[Rig, int], int]:
    return lambda rig, trials: cut(rig, trials, what)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("kill", "kill -9 amid a transaction", kill_at_points, 100, 6),
    Scenario("kill-unnamed", "kill -9, no instance ids", kill_at_points, 10, 2, UNNAMED),
    Scenario("kill-intake", "kill -9 of intake amid a transaction", kill_intake, 60, 4, INTAKE),
    Scenario("kill-random", "kill -9 at any time", kill_at_any_time, 30, 3),
    Scenario("kill-preparing", "kill -9 of preparing processes", kill_preparing, 30, 3, PREPARING),
    Scenario("kill-live", "kill -9, trainer too, live model", kill_with_trainer, 12, 2, LIVE),
    Scenario("kill-redrive", "kill -9 of a redrive amid a transaction", kill_redrive, 20, 4),
    Scenario(
        "kill-recommender",
        "kill -9 of recommenders and a worker",
        kill_recommenders,
        40,
        5,
        RECOMMENDED,
    ),
    Scenario("kill-rules", "kill -9 of rules and a worker", kill_rules, 40, 4, RULED),
    Scenario("rollback", "the model rolled back amid kills", rolled_back, 12, 2, LIVE),
    Scenario("switch", "another embedding model amid kills", switched, 6, 1, SWITCHED),
    Scenario("kill-reset", "kill -9 of a reset amid a transaction", kill_reset, 6, 1, RESET),
    Scenario("zombie", "SIGSTOP past the session, SIGCONT", zombies, 10, 1),
    Scenario("zombie-unnamed", "SIGSTOP, no instance ids", zombies, 10, 1, UNNAMED),
    Scenario("zombie-late", "SIGSTOP between transactions", late_zombies, 4, 1, UNNAMED),
    Scenario("lost-answer", "EndTxn: answer or request lost", lost_answers, 20, 2, LARGE_BATCHES),
    Scenario("refused", "a transaction has to be aborted", refused, 20, 2),
    Scenario("frozen-end", "all brokers frozen at EndTxn", frozen_at_the_end, 4, 1),
    Scenario("open-transaction", "a dead writer's open transaction", open_transaction, 5, 1),
    Scenario("broker-stop", "a broker stopped cleanly", _bounce("stop"), 5, 1),
    Scenario("broker-kill", "a broker killed", _bounce("kill"), 5, 1),
    Scenario("broker-freeze", "a broker frozen", _bounce("freeze"), 5, 1),
    Scenario("rolling", "rolling restart, static ids", rolling_restart, 3, 1),
    Scenario("upgrade", "rolling upgrade, newer formats", rolling_upgrade, 1, 1, LIVE),
    Scenario(
        "upgrade-former",
        "rolling upgrade from 48f6e1e",
        from_former,
        1,
        1,
        ALIKE,
        needs="former",
    ),
    Scenario("kill-revoke", "kill -9 amid a rebalance, static id", killed_amid_rebalance, 5, 1),
    Scenario("scale", "3, 1, 4 and 3 workers", scale, 4, 1),
    Scenario("retention", "retention passes the offset", retention, 5, 1),
    Scenario("made-anew", "the topic made anew under load", made_anew, 5, 1, FOLLOWED),
    Scenario(
        "cut-coordinator", "cut from the coordinator", _cut("coordinator"), 5, 1, needs="wire"
    ),
    Scenario("cut-all", "cut from all brokers", _cut("both"), 5, 1, needs="wire"),
    Scenario("cut-out", "cut one way, outwards", _cut("to_hub"), 5, 1, needs="wire"),
    Scenario("cut-in", "cut one way, inwards", _cut("to_victim"), 5, 1, needs="wire"),
    Scenario("slow-link", "100 ms and 5 % loss", slow_link, 5, 1, SLOW_LINK, needs="wire"),
    Scenario("disk-full", "the disk of checkpoints is full", disk_full, 5, 1, needs="disk"),
    Scenario("slow-device", "slow, then hung embedding", slow_device, 4, 2, SLOW_DEVICE),
    Scenario("other-embedding", "another embedding model", other_embedding, 3, 1),
    Scenario("raised-partitions", "an operator raised partitions", raised_partitions, 3, 1),
)
