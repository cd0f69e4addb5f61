"""Recommenders and workers that are killed amid transactions: items are counted once."""

from __future__ import annotations

import signal

from consumer.engine.crash_points import CrashPoint
from consumer.verify import verify_topics
from tests.faults.processes import Fault
from tests.faults.rig import Options, Rig, expect

RECOMMENDED = Options(
    workers=2,
    recommenders=2,
    trainer=False,
    sections={
        "recommendations": {
            "enabled": True,
            "users": True,
            "interval_hours": 6,
            "min_interval_seconds": 1,
            "candidates": 20,
            "top": 5,
        }
    },
)
_AMID: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent", "committed")


def kill_recommenders(rig: Rig, trials: int) -> int:
    """SIGKILL of recommenders and of a worker inside a transaction; each is started again."""
    left = trials

    def next_fault(name: str) -> Fault | None:
        nonlocal left
        if left <= 0 or not (name.startswith("r") or name == "w0"):
            return None
        left -= 1
        return Fault(_AMID[left % len(_AMID)], rig.draw.randint(1, 12), "kill")

    rig.start(next_fault)
    victims = [*rig.recommenders, *rig.workers[:1]]
    for victim in victims:
        rig.supervisor.restart(victim.spec.name)

    def killed() -> int:
        members = [*rig.recommenders, *rig.workers]
        return sum(code == -signal.SIGKILL for each in members for code in each.exits)

    rig.until(lambda: killed() >= trials, f"{trials} kills", 60 + 12 * trials)
    rig.load.stop()
    rig.recover(measure=False)
    # Once all is counted, given away and merged, the audit leaves nothing of items unchecked.
    rig.until(lambda: not unchecked(rig), "what leads is published", 180)
    result = verify_topics(rig.settings)
    named = next((note for note in result.notes if "name an item" in note), "0 ")
    expect(not named.startswith("0 "), "no event names an item: nothing is tried")
    rig.notes.append(named)
    return killed()


def unchecked(rig: Rig) -> list[str]:
    """Give what verify could not tell of items."""
    return [each for each in verify_topics(rig.settings).unchecked if "segment model" not in each]
