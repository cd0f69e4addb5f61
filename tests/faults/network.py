"""A wire between the lab and a process: slow it, lose packets, cut it, while the process runs.

In a lab (see `tests.faults.lab`):

    with EmbeddedKafka(data, brokers=3, host=HUB) as kafka, Wire() as wire:
        worker = wire.popen([sys.executable, "-m", "consumer.cli.main", "worker", ...])
        wire.set(delay=0.1, loss=0.05)
        wire.set(cut="both", ports=[kafka.ports[0]])
        wire.heal()
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from tests.faults import lab
from tests.faults.inside import join
from tests.faults.kernel import TUN_DEVICE
from tests.faults.lab import HUB, LabError
from tests.faults.relay import Counts, Cut, Faults

__all__ = [
    "HUB",
    "MTU",
    "REASONS",
    "Counts",
    "Cut",
    "Faults",
    "LabError",
    "Wire",
    "available",
    "join",
]

# Ten times an Ethernet's: the relay handles packets, not bytes, and with loss TCP's throughput is
# proportional to it, so that a test of the order of events need not take minutes.
MTU = 16_000
MTUS = range(68, 65_536)
NO_TUN = f"the lab's wires need {TUN_DEVICE}"
REASONS = (lab.NOT_LINUX, lab.NO_NAMESPACES, NO_TUN)
"""How the reasons that `available` gives begin."""


class Wire:
    """A wire between the lab's hub and a network of its own, for the processes it starts there.

    The hub is where the lab's other processes live. What `popen` starts sees, beside its own `lo`,
    only `HUB`. Faults hold for the wire as a whole; for two victims with different faults, make
    two wires. For use by several threads. As long as the `with` block lasts: at its end, or when
    this process dies in any way, the processes behind the wire are killed and its devices and its
    namespace are gone.

    Parameters
    ----------
    mtu
        Bytes of the largest packet, 68 to 65,535.
    seed
        Of the choice of lost packets.

    Raises
    ------
    ValueError
        If the MTU is out of range.
    LabError
        On entering, outside a lab or where no wire can be made.
    """

    def __init__(self, *, mtu: int = MTU, seed: int = 0) -> None:
        if mtu not in MTUS:
            raise ValueError(f"mtu is {mtu}: give {MTUS[0]} to {MTUS[-1]} bytes")
        self.mtu = mtu
        self.seed = seed
        self.faults = Faults()
        self._address = ""
        self._relay: subprocess.Popen[str] | None = None
        self._victims: list[subprocess.Popen[Any]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        lab.require()
        arguments = map(str, (os.getpid(), self.mtu, self.seed))
        self._relay = subprocess.Popen(
            lab.module_command("tests.faults.relay", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            answer = self._answer(self._relay)
            if failed := answer.get("failed"):
                raise LabError(f"{NO_TUN}, and one could not be made: {failed}")
        except BaseException:
            self.close()
            raise
        self._address = answer["address"]
        self.faults = Faults()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where the hub reaches what listens on 0.0.0.0 behind the wire."""
        return self._address

    @property
    def namespace(self) -> Path:
        """The file of the network namespace behind the wire: for `join`, and nsenter(1)."""
        return _namespace(self._running())

    def close(self) -> None:
        """Kill the processes behind the wire and take it away. Does nothing when already closed."""
        with self._lock:
            relay, self._relay = self._relay, None
            victims, self._victims = self._victims, []
        if relay is not None:
            relay.communicate()  # it ends, and the victims with it, when its input does
        for victim in victims:
            victim.kill()  # in case that its process was killed before it could kill
            victim.wait()

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process behind the wire.

        Parameters
        ----------
        argv
            The command line.
        options
            As `subprocess.Popen` takes them, but for the process group, which is the wire's.

        Returns
        -------
        Popen
            The process itself: its id, signals and exit code are those of the command.
        """
        with self._lock:
            relay = self._running()
            victim = subprocess.Popen(
                lab.module_command("tests.faults.inside", str(_namespace(relay)), *argv),
                process_group=relay.pid,
                **options,
            )
            self._victims.append(victim)
        return victim

    def set(
        self,
        *,
        delay: float = 0.0,
        loss: float = 0.0,
        cut: Cut = "none",
        ports: Sequence[int] | None = None,
    ) -> None:
        """Make the wire have these faults and no others; when this returns they hold.

        Parameters
        ----------
        delay, loss, cut, ports
            See `Faults`.

        Raises
        ------
        ValueError
            If a value is out of range.
        LabError
            If the wire is not open.
        """
        faults = Faults(delay, loss, cut, None if ports is None else list(ports))
        self._tell(json.dumps(asdict(faults)))
        self.faults = faults

    def heal(self) -> None:
        """Take all faults away. Packets that are being delayed still arrive in their time."""
        self.set()

    def counts(self) -> Counts:
        """Count the packets since the wire was made."""
        return self._tell("")

    def _tell(self, line: str) -> Counts:
        with self._lock:
            relay = self._running()
            assert relay.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # there is no answer either then
                relay.stdin.write(f"{line}\n")
                relay.stdin.flush()
            return Counts(**self._answer(relay))

    @staticmethod
    def _answer(relay: subprocess.Popen[str]) -> dict[str, Any]:
        assert relay.stdout is not None
        line = relay.stdout.readline()
        if not line:
            raise LabError("the wire's process has ended by itself: see what it wrote before")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[str]:
        if self._relay is None or self._relay.poll() is not None:
            raise LabError("the wire is not open: use it within its `with` block")
        return self._relay


def _namespace(relay: subprocess.Popen[str]) -> Path:
    return Path(f"/proc/{relay.pid}/ns/net")


@functools.cache
def available() -> str | None:
    """Say why this machine cannot have a lab with wires; None if it can.

    It tries, in a process of its own. The reason begins with one of `REASONS`.

    Raises
    ------
    LabError
        If it fails in a way that is not the machine's.
    """
    return lab.attempt(lab.module_command("tests.faults.network"), REASONS)


def main() -> int:
    """Make a wire and take it away, to see whether that works."""
    try:
        with Wire() as wire:
            wire.counts()
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return lab.CANNOT_ENTER
    return 0


if __name__ == "__main__":
    sys.exit(main())
