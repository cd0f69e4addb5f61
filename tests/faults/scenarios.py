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
from dataclasses import dataclass

from confluent_kafka import Producer

from consumer.crash_points import CrashPoint
from tests.faults.processes import Fault, Member
from tests.faults.rig import SESSION_SECONDS, TRANSACTION_SECONDS, Options, Rig

AMID: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent")
_DEAD_TRANSACTION_SECONDS = 8
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
    options: Options = Options()


def _expect(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


# --- kills ----------------------------------------------------------------------------------


def kill_at_points(rig: Rig, trials: int, points: tuple[CrashPoint, ...] = AMID) -> int:
    """SIGKILL inside a transaction; the process is started again at once."""
    left = trials
    met = 0

    def next_fault(name: str) -> Fault | None:
        nonlocal left
        if left <= 0 or not name.startswith("w"):
            return None
        left -= 1
        return Fault(points[left % len(points)], rig.draw.randint(1, 12), "kill")

    rig.start(next_fault)
    for name in ("w0", "w1"):
        # The third worker lives on, so that there is always one to take over.
        rig.supervisor.restart(name, rig.spec(name))

    def count() -> int:
        return sum(code == -signal.SIGKILL for w in rig.workers for code in w.exits)

    deadline = time.monotonic() + 30 + 6 * trials
    while met < trials:
        before, begun = met, time.monotonic()
        rig.until(lambda: count() > before or time.monotonic() > deadline, "a kill", 60)
        met = count()
        if rig.draw.random() < 0.25 or met >= trials:
            took = rig.recover(measure=False) + time.monotonic() - begun
            rig.recoveries.append(took)
        if time.monotonic() > deadline:
            break
    return met


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
        rig.recover()
    return done


def kill_with_trainer(rig: Rig, trials: int) -> int:
    """SIGKILL of workers and of the trainer, with workers that follow the trainer's model."""
    rig.start()
    for _ in range(trials):
        rig.pause(0.3, 2.0)
        victim = rig.draw.choice(list(rig.supervisor.members.values()))
        victim.signal(signal.SIGKILL)
        rig.recover()
    return trials


# --- zombies --------------------------------------------------------------------------------


def zombies(rig: Rig, trials: int) -> int:
    """SIGSTOP past the session's end, at chosen points of a transaction and at any time."""
    rig.start()
    done = 0
    while done < trials:
        name = f"w{rig.draw.randrange(len(rig.workers))}"
        point = rig.draw.choice((*ROUND, "before_begin", None))
        if point is None:
            victim = rig.supervisor.members[name]
            rig.pause(0.1, 1.0)
            victim.signal(signal.SIGSTOP)
        else:
            rig.supervisor.stop(name)
            action = rig.draw.choice(("suspend", "dawdle"))
            fault = Fault(point, rig.draw.randint(2, 8), action)
            victim = rig.start_worker(name, fault=fault)
            rig.until(lambda victim=victim: _stopped(victim.pid), "a worker suspends itself", 90)
        # The others take over once the session is over, and then go on without it.
        time.sleep(SESSION_SECONDS + 1)
        rig.recover()
        exits = len(victim.exits)
        victim.signal(signal.SIGCONT)
        rig.until(lambda v=victim, n=exits: len(v.exits) > n, f"the zombie {name} ends", 30)
        _expect(victim.exits[-1] == 3, f"the zombie {name} ended with exit code {victim.exits[-1]}")
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
    return _inside(rig, trials, "offsets_sent", ("lose_answer", "lose_request"))


def refused(rig: Rig, trials: int) -> int:
    """A transaction whose records and offsets are with the brokers has to be aborted."""
    return _inside(rig, trials, "offsets_sent", ("refuse",))


def _inside(rig: Rig, trials: int, point: CrashPoint, actions: tuple[str, ...]) -> int:
    """Have something go wrong inside of a worker that must survive it."""
    rig.start()
    for number in range(trials):
        name = f"w{rig.draw.randrange(len(rig.workers))}"
        fault = Fault(point, rig.draw.randint(1, 10), actions[number % len(actions)])
        rig.supervisor.stop(name)
        victim = rig.start_worker(name, fault=fault)
        before = victim.faults_met()
        rig.until(lambda v=victim, b=before: v.faults_met() > b, fault.action, 60)
        rig.recover()
        _expect(not victim.exits, f"{name} ended after {fault.action}: {victim.exits}")
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
            (rig.kafka.stop if kind == "stop" else rig.kafka.kill)(index)
            rig.pause(0.5, 3.0)
            rig.kafka.start(index)
        rig.kafka.await_in_sync()
        rig.recover(measure=False)
        rig.recoveries.append(time.monotonic() - begun)
    return trials


# --- restarts and scale ---------------------------------------------------------------------


def rolling_restart(rig: Rig, trials: int) -> int:
    """Every worker is restarted in turn under its own name: no other one notices."""
    rig.start()
    for _ in range(trials):
        for name in ("w0", "w1", "w2"):
            others = [w for w in rig.workers if w.spec.name != name]
            before = [_assignments(other) for other in others]
            code = rig.supervisor.restart(name)
            _expect(code == 0, f"{name} stopped with exit code {code}")
            rig.recover()
            after = [_assignments(other) for other in others]
            _expect(before == after, f"the restart of {name} rebalanced the others")
    stalls = rig.watch.stalls()
    parts = ", ".join(f"{n}: {stalls.get(n, 0.0):.1f}" for n in range(6))
    rig.notes.append(f"pause for each partition, seconds: {parts}; 0 rebalances of others")
    return 3 * trials


def _assignments(member: Member) -> int:
    """Count what the group has given a process and taken from it, by its log."""
    text = member.spec.log.read_text(errors="replace")
    return sum(text.count(f"consumer.loop: {word}: ") for word in ("assigned", "revoke", "lost"))


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


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("kill", "kill -9 amid a transaction", kill_at_points, 100, 6),
    Scenario(
        "kill-unnamed",
        "the same without instance ids",
        kill_at_points,
        10,
        2,
        Options(named=False),
    ),
    Scenario("kill-random", "kill -9 at any time", kill_at_any_time, 30, 3),
    Scenario(
        "kill-live",
        "kill -9 of workers and trainer, model learned live",
        kill_with_trainer,
        12,
        2,
        Options(live_model=True),
    ),
    Scenario("zombie", "SIGSTOP past the session, then SIGCONT", zombies, 10, 2),
    Scenario(
        "zombie-unnamed",
        "the same without instance ids",
        zombies,
        10,
        2,
        Options(named=False),
    ),
    Scenario("lost-answer", "an EndTxn whose answer or request is lost", lost_answers, 20, 3),
    Scenario("refused", "a transaction that has to be aborted", refused, 20, 3),
    Scenario("frozen-end", "all brokers frozen at EndTxn", frozen_at_the_end, 4, 1),
    Scenario(
        "open-transaction", "a dead writer's transaction in the changelog", open_transaction, 5, 1
    ),
    Scenario("broker-stop", "a broker stopped cleanly", lambda r, n: bounce(r, n, "stop"), 5, 1),
    Scenario("broker-kill", "a broker killed", lambda r, n: bounce(r, n, "kill"), 5, 1),
    Scenario("broker-freeze", "a broker frozen", lambda r, n: bounce(r, n, "freeze"), 5, 1),
    Scenario("rolling", "rolling restart with static ids", rolling_restart, 3, 1),
    Scenario("scale", "3, 1, 4 and 3 workers", scale, 4, 1),
)
