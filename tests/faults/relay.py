"""The process that is a wire: it carries IP packets between two network namespaces, or does not.

`tests.faults.network.Wire` runs it, in the hub's namespace. It makes one TUN device there, moves
into a new namespace, which is the victim's, and makes the other one there. A TUN device stays with
the file that stands for it, so both devices and the victim's namespace go when this process goes.

It leads a process group that the victims join. When its standard input closes, or its parent is
gone, it kills the whole group, itself included, as `consumer/tryout/broker/watchdog.py` does for
brokers.

Its first line of output is JSON: the victim's `address`, or why there is none as `failed`. From
then on each line of input is the JSON of one `Faults`, or nothing, to leave them as they are; the
answer is a line with the JSON of the `Counts` so far, after which the new faults hold.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal, get_args

from tests.faults import kernel
from tests.faults.lab import HUB

Cut = Literal["none", "both", "to_hub", "to_victim"]

_VICTIM_NETWORK = "10.88.1"
_MAX_WIRES = 254
_PARENT_CHECK_S = 0.5
_PACKET_BYTES = 65_536
# Packets of one direction before the other one, and new faults, get their turn.
_TURN = 64
# TCP limits what it has on the way; a shorter queue would lose packets that nobody asked to lose.
_QUEUE = 10_000

_IPV4 = 4
_TCP = 6


@dataclass(frozen=True)
class Faults:
    """What a wire does to the packets on it.

    Parameters
    ----------
    delay
        Seconds that each packet takes, each way. Packets keep their order.
    loss
        Share of packets, from 0 to 1, that are lost at random, each way.
    cut
        Which packets never arrive: "none", "both" for all, or only those "to_hub" or "to_victim".
        Packets under way when the cut begins are lost too.
    ports
        Restricts the cut to TCP packets from and to these ports of the hub; None for all packets.

    Raises
    ------
    ValueError
        If a value is not one of these.
    """

    delay: float = 0.0
    loss: float = 0.0
    cut: Cut = "none"
    ports: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.delay < math.inf:
            raise ValueError(f"delay is {self.delay}: give seconds from 0 up")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss is {self.loss}: give a share from 0 to 1")
        if self.cut not in get_args(Cut):
            raise ValueError(f"cut is {self.cut!r}: choose one of {', '.join(get_args(Cut))}")
        if self.ports is not None:
            if self.cut == "none":
                raise ValueError("ports are given but cut is 'none': say which way to cut them")
            if not self.ports or not all(1 <= port <= 65_535 for port in self.ports):
                raise ValueError(f"ports is {self.ports}: give one or more from 1 to 65535")


@dataclass
class Counts:
    """IP packets of a wire, both ways together.

    Parameters
    ----------
    carried
        Packets that arrived.
    lost
        Packets lost at random.
    cut
        Packets lost to a cut.
    """

    carried: int = 0
    lost: int = 0
    cut: int = 0


def hub_port(packet: bytes, to_hub: bool) -> int | None:
    """Give the hub's port of an IPv4 packet; None if it is not the beginning of a TCP segment."""
    later_fragment = int.from_bytes(packet[6:8]) & 0x1FFF
    if packet[9] != _TCP or later_fragment:
        return None
    header_bytes = (packet[0] & 0x0F) * 4
    at = header_bytes + (2 if to_hub else 0)
    return int.from_bytes(packet[at : at + 2])


class Direction:
    """One way of a wire: packets in the order in which they came, with the times they are due.

    Parameters
    ----------
    to_hub
        Whether this is the way from the victim to the hub.
    write
        What takes a packet at the other end.
    counts
        Where packets are counted.
    seed
        Of the choice of lost packets.
    """

    def __init__(
        self, to_hub: bool, write: Callable[[bytes], object], counts: Counts, seed: int
    ) -> None:
        self.faults = Faults()
        self._to_hub = to_hub
        self._write = write
        self._counts = counts
        self._random = Random(f"{seed} {to_hub}")
        self._waiting: deque[tuple[float, bytes]] = deque()

    def accept(self, packet: bytes, now: float) -> None:
        """Take a packet in at a time in seconds."""
        if packet[0] >> 4 != _IPV4:
            return  # what the kernel says to find IPv6 neighbours, of which there are none
        if self._is_cut(packet):
            self._counts.cut += 1
        elif self._random.random() < self.faults.loss:
            self._counts.lost += 1
        else:
            self._waiting.append((now + self.faults.delay, packet))

    def deliver(self, now: float) -> None:
        """Give out the packets that are due, but none before one that came earlier."""
        while self._waiting and self._waiting[0][0] <= now:
            _, packet = self._waiting.popleft()
            if self._is_cut(packet):
                self._counts.cut += 1
            else:
                self._write(packet)
                self._counts.carried += 1

    def wait(self, now: float) -> float:
        """Give the seconds until a packet is due, infinite if there is none."""
        return max(self._waiting[0][0] - now, 0) if self._waiting else math.inf

    def _is_cut(self, packet: bytes) -> bool:
        faults = self.faults
        if faults.cut not in ("both", "to_hub" if self._to_hub else "to_victim"):
            return False
        return faults.ports is None or hub_port(packet, self._to_hub) in faults.ports


class Relay:
    """Moves packets between two TUN devices until it is told to stop.

    Parameters
    ----------
    hub, victim
        The devices' files.
    control
        File that `Faults` are read from.
    reply
        What takes the answers.
    seed
        Of the choice of lost packets.
    """

    def __init__(
        self, hub: int, victim: int, control: int, reply: Callable[[str], object], seed: int
    ) -> None:
        self.counts = Counts()
        self._control = control
        self._reply = reply
        self._commands = b""
        self._ways = {
            victim: Direction(True, lambda packet: os.write(hub, packet), self.counts, seed),
            hub: Direction(False, lambda packet: os.write(victim, packet), self.counts, seed),
        }

    def run(self, parent: int) -> None:
        """Go on until the control file ends or this process has another parent."""
        while os.getppid() == parent:
            now = time.monotonic()
            wait = min(_PARENT_CHECK_S, *(way.wait(now) for way in self._ways.values()))
            ready, _, _ = select.select([self._control, *self._ways], [], [], wait)
            if self._control in ready and not self._obey():
                return
            for device, way in self._ways.items():
                if device in ready:
                    _read_turn(device, way)
                way.deliver(time.monotonic())

    def _obey(self) -> bool:
        received = os.read(self._control, _PACKET_BYTES)
        *lines, self._commands = (self._commands + received).split(b"\n")
        for line in lines:
            if line:
                faults = Faults(**json.loads(line))
                for way in self._ways.values():
                    way.faults = faults
            self._reply(json.dumps(asdict(self.counts)))
        return bool(received)


def _read_turn(device: int, way: Direction) -> None:
    for _ in range(_TURN):
        try:
            packet = os.read(device, _PACKET_BYTES)
        except BlockingIOError:
            return
        way.accept(packet, time.monotonic())


def connect(mtu: int) -> tuple[int, int, str]:
    """Make both ends of a wire and stay at the victim's.

    Returns
    -------
    int, int, str
        The files of the devices at the hub and at the victim, and the victim's address.
    """
    hub, name = kernel.open_tun("wire%d")
    number = int(name.removeprefix("wire")) + 1
    if number > _MAX_WIRES:
        raise OSError(f"there are {_MAX_WIRES} wires: close one")
    address = f"{_VICTIM_NETWORK}.{number}"
    # The hub has one address on all wires, so that brokers can be reached as they advertise it.
    _start(name, HUB, address, mtu)
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.bring_up("lo")
    victim, name = kernel.open_tun("wire%d")
    _start(name, address, HUB, mtu)
    return hub, victim, address


def _start(name: str, address: str, peer: str, mtu: int) -> None:
    kernel.set_address(name, address, peer)
    kernel.set_sizes(name, mtu, _QUEUE)
    kernel.bring_up(name)


def main(argv: Sequence[str]) -> int:
    """Be the wire of the process `argv[0]`, with an MTU and a seed."""
    parent, mtu, seed = map(int, argv)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)

    def reply(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        hub, victim, address = connect(mtu)
    except OSError as error:
        reply(json.dumps({"failed": str(error)}))
        return 1
    try:
        reply(json.dumps({"address": address}))
        Relay(hub, victim, sys.stdin.fileno(), reply, seed).run(parent)
    finally:
        os.killpg(0, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
