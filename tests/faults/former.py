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
    """The former build runs the group; trainer and workers are replaced one by one.

    The trainer first, as docs/upgrading.md asks: it reads the samples of both. A worker of each
    build is killed meanwhile.
    """
    rig.build = former_build()
    rig.start()
    for _ in range(trials):
        rig.pause(1.0, 2.0)
        _kill(rig, rig.draw.choice(rig.workers).spec.name)
        formerly = _forms(rig)
        expect(formerly["JSON"] > 0, "the former build wrote no profiles as JSON")
        rig.build = None
        _replace(rig, "t0")
        names = [worker.spec.name for worker in rig.workers]
        rig.draw.shuffle(names)
        for number, name in enumerate(names):
            amid = Fault("produced", rig.draw.randint(1, 5), "kill")
            _replace(rig, name, fault=None if number == 1 else amid)
            if number != 1:
                rig.until(
                    lambda w=name: -signal.SIGKILL in rig.supervisor.members[w].exits,
                    f"{name} is killed amid a transaction",
                )
            rig.recover()
        _kill(rig, names[0])
        forms = _forms(rig)
        written = ", ".join(f"{count} as {form}" for form, count in sorted(forms.items()))
        rig.notes.append(f"profiles in the changelog, from {FORMER} on: {written}")
    return trials


def _replace(rig: Rig, name: str, fault: Fault | None = None) -> None:
    """Restart a process as this build's."""
    arguments = ("trainer",) if name == "t0" else rig.spec(name).arguments
    code = rig.supervisor.restart(name, rig.spec(name, arguments=arguments, fault=fault))
    expect(code == 0, f"{name} of the former build stopped with exit code {code}")


def _kill(rig: Rig, name: str) -> None:
    rig.supervisor.members[name].signal(signal.SIGKILL)
    rig.recover()


def _forms(rig: Rig) -> Counter[str]:
    """Count the records of the changelog by their form."""
    return Counter(
        "JSON" if (record.value or b"").startswith(b"{") else "binary"
        for record in read_topic(rig.settings, rig.settings.topics.profiles)
    )
