"""Processes of rules and a worker that are killed amid transactions, and a rule that is changed."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from consumer.engine.crash_points import CrashPoint
from consumer.verify import verify_topics
from tests.faults.processes import Fault
from tests.faults.rig import Options, Rig, expect

# A user's events are five days apart, and users are some way ahead of each other.
RULES = {
    "busy": 'count("12d") >= 3',
    "long-known": 'known_for("60d") && count("comment", "25d") >= 3',
    "quiet": 'silent_for("30d")',
    "runner": "segment == 1",
}
OTHERS = {**RULES, "busy": 'count("12d") >= 2', "brewer": 'segment == 0 && count("40d") >= 4'}
RULED = Options(
    workers=2,
    rulers=2,
    trainer=False,
    sections={"rules": {"enabled": True, "segments": RULES}},
)
_AMID: tuple[CrashPoint, ...] = ("begun", "produced", "offsets_sent", "committed")


def kill_rules(rig: Rig, trials: int) -> int:
    """SIGKILL of processes of rules and of a worker; amid that a rule is changed, another added."""
    drawn = 0

    def killed() -> int:
        members = [*rig.rulers, *rig.workers]
        return sum(code == -signal.SIGKILL for each in members for code in each.exits)

    def next_fault(name: str) -> Fault | None:
        nonlocal drawn
        if not (name.startswith("p") or name == "w0"):
            return None
        drawn += 1
        return Fault(_AMID[drawn % len(_AMID)], rig.draw.randint(1, 12), "kill")

    def start_anew() -> None:
        for member in [*rig.rulers, *rig.workers[:1]]:
            rig.supervisor.restart(member.spec.name)

    rig.start(next_fault)
    start_anew()
    half = trials // 2
    rig.until(lambda: killed() >= half, f"{half} kills", 60 + 12 * trials)
    change_rules(rig, OTHERS)
    rig.until(lambda: killed() >= trials, f"{trials} kills", 60 + 12 * trials)
    # None is to be killed amid what follows.
    rig.supervisor.next_fault = lambda _name: None
    start_anew()
    rig.load.stop()
    rig.recover(measure=False)
    # Once all is followed and everybody looked at, the audit leaves nothing of rules unchecked.
    rig.until(lambda: not unchecked(rig), "rules are followed", 180)
    result = verify_topics(rig.settings)
    (told,) = (note for note in result.notes if "changes by rules" in note)
    expect(not told.startswith("0 "), "no rule is fulfilled by anybody: nothing is tried")
    rig.notes.append(told)
    return killed()


def change_rules(rig: Rig, rules: Mapping[str, str]) -> None:
    """Start the processes of rules anew with other rules, one after the other."""
    changed = rig.settings.rules.model_copy(update={"segments": dict(rules)})
    rig.settings = rig.settings.model_copy(update={"rules": changed})
    for member in list(rig.rulers):
        name = member.spec.name
        rig.supervisor.restart(name, rig.spec_of_rules(name))


def unchecked(rig: Rig) -> list[str]:
    """Give what verify could not tell of rules."""
    return [each for each in verify_topics(rig.settings).unchecked if "segment model" not in each]
