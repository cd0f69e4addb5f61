"""What a wire does to packets, without a network: order, delays, losses, cuts."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.relay import Counts, Cut, Direction, Faults, hub_port

PORT = 9092
PORTS = st.integers(1, 65_535)


def packet(
    source: int = 40_000,
    target: int = PORT,
    *,
    options: int = 0,
    protocol: int = 6,
    offset: int = 0,
) -> bytes:
    """Write an IPv4 packet of a TCP segment, or of something else with its ports in that place."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + options,
        0,
        24 + 4 * options,
        0,
        offset,
        64,
        protocol,
        0,
        socket.inet_aton("10.88.1.1"),
        socket.inet_aton("10.88.0.1"),
    )
    return header + bytes(4 * options) + struct.pack("!HH", source, target)


def arrived(way: Direction, out: list[bytes], data: bytes, at: float = 0.0) -> bool:
    """Send one packet and say whether it has arrived at once."""
    before = len(out)
    way.accept(data, at)
    way.deliver(at)
    return len(out) > before


def way_with(faults: Faults, to_hub: bool = True, seed: int = 0) -> tuple[Direction, list[bytes]]:
    out: list[bytes] = []
    way = Direction(to_hub, out.append, Counts(), seed)
    way.faults = faults
    return way, out


@given(source=PORTS, target=PORTS, options=st.integers(0, 10), offset=st.just(0) | st.just(0x2000))
def test_the_hubs_port_is_the_target_towards_it_and_the_source_from_it(
    source: int, target: int, options: int, offset: int
) -> None:
    data = packet(source, target, options=options, offset=offset)
    assert hub_port(data, to_hub=True) == target
    assert hub_port(data, to_hub=False) == source


@given(
    protocol=st.integers(0, 255).filter(lambda number: number != 6), offset=st.integers(1, 0x1FFF)
)
def test_what_is_no_beginning_of_a_tcp_segment_has_no_port(protocol: int, offset: int) -> None:
    assert hub_port(packet(protocol=protocol), to_hub=True) is None
    assert hub_port(packet(offset=offset), to_hub=True) is None


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.25, 1.0]), st.floats(0, 0.5)),
        min_size=1,
        max_size=40,
    )
)
def test_packets_keep_their_order_and_none_comes_before_its_time(
    steps: list[tuple[float, float]],
) -> None:
    now = 0.0
    arrivals: list[tuple[int, float]] = []
    way = Direction(
        True, lambda data: arrivals.append((hub_port(data, True) or 0, now)), Counts(), 0
    )
    earliest = []
    for number, (delay, pause) in enumerate(steps):
        now += pause
        way.faults = Faults(delay=delay)
        way.accept(packet(target=number + 1), now)
        earliest.append(now + delay)
        way.deliver(now)
    while (wait := way.wait(now)) != float("inf"):
        now += wait
        way.deliver(now)
    assert [number for number, _ in arrivals] == list(range(1, len(steps) + 1))
    # A reference that looks at all packets at once: each waits for those before it.
    for place, (_, time) in enumerate(arrivals):
        assert time >= max(earliest[: place + 1]) - 1e-9


@pytest.mark.parametrize(
    ("cut", "to_hub", "to_victim"),
    [
        ("none", True, True),
        ("both", False, False),
        ("to_hub", False, True),
        ("to_victim", True, False),
    ],
)
def test_a_cut_holds_for_its_ways_only(cut: Cut, to_hub: bool, to_victim: bool) -> None:
    assert arrived(*way_with(Faults(cut=cut), to_hub=True), packet()) == to_hub
    assert arrived(*way_with(Faults(cut=cut), to_hub=False), packet()) == to_victim


def test_a_cut_of_ports_spares_other_ports_and_what_has_none() -> None:
    way, out = way_with(Faults(cut="both", ports=[PORT]))
    assert not arrived(way, out, packet(target=PORT))
    assert arrived(way, out, packet(target=PORT + 1))
    assert arrived(way, out, packet(source=PORT, target=PORT + 1))
    assert arrived(way, out, packet(target=PORT, protocol=17))


def test_packets_under_way_are_lost_when_a_cut_begins() -> None:
    way, out = way_with(Faults(delay=1))
    way.accept(packet(), 0.0)
    way.faults = Faults(cut="both")
    way.deliver(1.0)
    way.faults = Faults()
    way.deliver(2.0)
    assert out == []


def test_what_is_not_ipv4_is_dropped() -> None:
    way, out = way_with(Faults())
    assert not arrived(way, out, b"\x60" + bytes(39))


def test_about_the_share_asked_for_is_lost_and_each_packet_is_counted_once() -> None:
    counts = Counts()
    out: list[bytes] = []
    way = Direction(True, out.append, counts, 7)
    way.faults = Faults(loss=0.05)
    for _ in range(10_000):
        arrived(way, out, packet())
    assert 400 <= counts.lost <= 600
    assert (counts.carried, counts.cut) == (len(out), 0)
    assert counts.carried + counts.lost == 10_000


def test_the_seed_decides_which_packets_are_lost() -> None:
    def lost(seed: int, to_hub: bool = True) -> list[bool]:
        way, out = way_with(Faults(loss=0.5), to_hub, seed)
        return [arrived(way, out, packet()) for _ in range(100)]

    assert lost(1) == lost(1)
    assert lost(1) != lost(2)
    assert lost(1) != lost(1, to_hub=False)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"delay": -0.1}, "delay is -0.1"),
        ({"delay": float("inf")}, "delay is inf"),
        ({"delay": float("nan")}, "delay is nan"),
        ({"loss": 1.5}, "loss is 1.5"),
        ({"loss": float("nan")}, "loss is nan"),
        ({"cut": "all"}, "choose one of none, both, to_hub, to_victim"),
        ({"ports": [PORT]}, "say which way to cut them"),
        ({"cut": "both", "ports": []}, "give one or more"),
        ({"cut": "both", "ports": [0]}, "from 1 to 65535"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Faults(**values)  # type: ignore[arg-type]
