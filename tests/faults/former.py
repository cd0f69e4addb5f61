"""From the former build's formats to this one's, under load: a rolling upgrade with kills in it.

The former build is `benchmarks.pipeline.builds.FORMER`, in an environment of its own.
"""

from __future__ import annotations

import signal
from collections import Counter

from benchmarks.pipeline.builds import FORMER, BuildError, former_build
from consumer.kafka.cluster import read_topic
from tests.faults.processes import Fault
from tests.faults.rig import Rig, expect


def available() -> str | None:
    """Say why there is no former build here, making it where that is possible; None if there is."""
    try:
        former_build()
    except BuildError as error:
        return str(error)
    return None


def from_former(rig: Rig, trials: int) -> int:
    """The former build runs the group; its processes are replaced one by one, under load.

    The trainer's turn comes first: one of the former build cannot read what this build's workers
    send it. Of the state, each build reads what the other has written. A worker of each build is
    killed from outside, and two of this one amid a transaction.
    """
    rig.build = former_build()
    rig.start()
    for _ in range(trials):
        rig.pause(1.0, 2.0)
        _kill(rig, rig.draw.choice(rig.workers).spec.name)
        expect(_forms(rig)["JSON"] > 0, "the former build wrote no profiles as JSON")
        rig.build = None
        _replace(rig, "t0")
        names = [worker.spec.name for worker in rig.workers]
        rig.draw.shuffle(names)
        for number, name in enumerate(names):
            amid = Fault("produced", rig.draw.randint(1, 5), "kill") if number != 1 else None
            code = _replace(rig, name, amid)
            # One that was not ready yet has nothing to finish, and no handler.
            expect(
                code in (0, -signal.SIGTERM),
                f"{name} of the former build stopped with exit code {code}",
            )
            if amid is not None:
                rig.until(
                    lambda w=name: -signal.SIGKILL in rig.supervisor.members[w].exits,
                    f"{name} is killed amid a transaction",
                )
            rig.recover()
        _kill(rig, names[0])
        forms = _forms(rig)
        expect(forms["binary"] > 0, "this build wrote no profiles in its own form")
        written = ", ".join(f"{count:,} as {form}" for form, count in sorted(forms.items()))
        rig.notes.append(f"profiles in the changelog, from {FORMER} on: {written}")
    return trials


def _replace(rig: Rig, name: str, fault: Fault | None = None) -> int:
    """Restart a process as this build's; give the exit code of the former one."""
    arguments = ("trainer",) if name == "t0" else rig.spec(name).arguments
    return rig.supervisor.restart(name, rig.spec(name, arguments=arguments, fault=fault))


def _kill(rig: Rig, name: str) -> None:
    rig.supervisor.members[name].signal(signal.SIGKILL)
    rig.recover()


def _forms(rig: Rig) -> Counter[str]:
    """Count the records of the changelog by their form."""
    return Counter(
        "JSON" if (record.value or b"").startswith(b"{") else "binary"
        for record in read_topic(rig.settings, rig.settings.topics.profiles)
    )
