"""Processes behind a wire, on real sockets: intact, slow, cut, healed, and nothing left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.broker.install import installed_kafka
from tests.faults import lab
from tests.faults.network import HUB, LabError, Wire, join

ROOT = lab.ROOT
QUIET_S = 0.5


class Line:
    """A TCP connection from behind a wire to the hub; the test holds both ends.

    The near end is a socket of this process; the far end's is a netcat's, whose pipes are not
    part of the network.
    """

    def __init__(self, wire: Wire) -> None:
        with socket.create_server((HUB, 0)) as server:
            self.port = server.getsockname()[1]
            argv = [sys.executable, "-m", "tests.faults.netcat", HUB, str(self.port)]
            pipe = subprocess.PIPE
            self.process = wire.popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)
            self.near, (self.peer, _) = server.accept()
        self.near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.far_in: IO[bytes] = piped(self.process.stdin)
        self.far_out: IO[bytes] = piped(self.process.stdout)

    def from_hub(self, data: bytes) -> None:
        self.near.sendall(data)

    def from_victim(self, data: bytes) -> None:
        self.far_in.write(data)

    def at_hub(self, size: int) -> bytes:
        return b"".join(_exactly(self.near.recv, size))

    def at_victim(self, size: int) -> bytes:
        return b"".join(_exactly(self.far_out.read, size))

    def quiet_at_hub(self) -> bool:
        return not select.select([self.near], [], [], QUIET_S)[0]

    def quiet_at_victim(self) -> bool:
        return not select.select([self.far_out], [], [], QUIET_S)[0]

    def works(self) -> bool:
        self.from_hub(b"ping")
        self.from_victim(b"pong")
        return self.at_victim(4) == b"ping" and self.at_hub(4) == b"pong"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.near, self.far_in, self.far_out):
            end.close()


def piped(file: IO[bytes] | None) -> IO[bytes]:
    assert file is not None, "not a pipe"
    return file


def _exactly(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    while size:
        data = read(size)
        assert data, "the connection has ended"
        yield data
        size -= len(data)


@contextlib.contextmanager
def behind(wire: Wire, argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process behind a wire until the end of the block, however that ends."""
    with wire.popen(argv, **options) as victim:
        try:
            yield victim
        finally:
            victim.kill()


@contextlib.contextmanager
def line(wire: Wire) -> Iterator[Line]:
    with contextlib.closing(Line(wire)) as opened:
        yield opened


def exchange(talk: Line, size: int) -> None:
    """Send different random bytes both ways at once, and hold what arrives against them."""
    down, up = (random.Random(seed).randbytes(size) for seed in "ab")
    senders = [
        threading.Thread(target=talk.from_hub, args=(down,)),
        threading.Thread(target=_write_all, args=(talk.far_in, up)),
    ]
    received: list[bytes] = []
    receiver = threading.Thread(target=lambda: received.append(talk.at_hub(size)))
    for thread in (*senders, receiver):
        thread.start()
    at_victim = talk.at_victim(size)
    for thread in (*senders, receiver):
        thread.join()
    assert hashlib.sha256(at_victim).digest() == hashlib.sha256(down).digest()
    assert hashlib.sha256(received[0]).digest() == hashlib.sha256(up).digest()


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@pytest.mark.lab("wire")
@pytest.mark.parametrize("mtu", [1500, 16_000, 60_000])
def test_data_arrives_intact_both_ways_at_once(mtu: int) -> None:
    with Wire(mtu=mtu) as wire, line(wire) as talk:
        assert talk.peer == wire.address
        exchange(talk, 10_000_000)
        counts = wire.counts()
        assert (counts.lost, counts.cut) == (0, 0)
        assert counts.carried > 0


@pytest.mark.lab("wire")
def test_each_way_takes_at_least_the_delay() -> None:
    with Wire() as wire, line(wire) as talk:
        wire.set(delay=0.1)
        for send, receive in ((talk.from_hub, talk.at_victim), (talk.from_victim, talk.at_hub)):
            begun = time.monotonic()
            send(b"x")
            assert receive(1) == b"x"
            assert time.monotonic() - begun >= 0.1


@pytest.mark.lab("wire")
def test_a_slow_wire_that_loses_packets_corrupts_nothing() -> None:
    with Wire(mtu=1500, seed=1) as wire, line(wire) as talk:
        wire.set(delay=0.002, loss=0.05)
        exchange(talk, 500_000)
        assert wire.counts().lost > 0


@pytest.mark.lab("wire")
def test_nothing_passes_a_cut_wire_and_all_arrives_when_it_is_healed() -> None:
    with Wire() as wire, line(wire) as talk:
        assert talk.works()
        wire.set(cut="both")
        talk.from_hub(b"down")
        talk.from_victim(b"up")
        assert talk.quiet_at_hub()
        assert talk.quiet_at_victim()
        assert wire.counts().cut > 0
        wire.heal()
        assert (talk.at_victim(4), talk.at_hub(2)) == (b"down", b"up")


@pytest.mark.lab("wire")
def test_a_wire_cut_towards_the_hub_still_carries_the_other_way() -> None:
    with Wire() as wire, line(wire) as talk:
        wire.set(cut="to_hub")
        talk.from_victim(b"up")
        talk.from_hub(b"down")
        assert talk.at_victim(4) == b"down"
        assert talk.quiet_at_hub()
        wire.heal()
        assert talk.at_hub(2) == b"up"


@pytest.mark.lab("wire")
def test_a_wire_cut_towards_the_victim_still_carries_the_other_way() -> None:
    with Wire() as wire, line(wire) as talk:
        wire.set(cut="to_victim")
        talk.from_hub(b"down")
        talk.from_victim(b"up")
        assert talk.at_hub(2) == b"up"
        assert talk.quiet_at_victim()
        wire.heal()
        assert talk.at_victim(4) == b"down"


@pytest.mark.lab("wire")
def test_a_cut_of_one_port_leaves_the_others_alone() -> None:
    with Wire() as wire, line(wire) as coordinator, line(wire) as other:
        wire.set(cut="both", ports=[coordinator.port])
        coordinator.from_hub(b"down")
        coordinator.from_victim(b"up")
        assert other.works()
        assert coordinator.quiet_at_hub()
        assert coordinator.quiet_at_victim()
        wire.heal()
        assert (coordinator.at_victim(4), coordinator.at_hub(2)) == (b"down", b"up")


@pytest.mark.lab("wire")
def test_set_replaces_all_faults() -> None:
    with Wire() as wire, line(wire) as talk:
        wire.set(cut="both")
        wire.set(delay=0.01)
        assert (wire.faults.cut, wire.faults.delay) == ("none", 0.01)
        assert talk.works()


@pytest.mark.lab("wire")
def test_two_wires_have_faults_of_their_own() -> None:
    with Wire() as one, Wire() as two, line(one) as cut, line(two) as whole:
        assert one.address != two.address
        one.set(cut="both")
        cut.from_hub(b"down")
        assert whole.works()
        assert cut.quiet_at_victim()


@pytest.mark.lab("wire")
def test_the_hub_reaches_what_listens_behind_the_wire() -> None:
    code = (
        "import socket; server = socket.create_server(('0.0.0.0', 8080)); print(flush=True)\n"
        "server.accept()[0].sendall(b'metrics')"
    )
    argv = [sys.executable, "-c", code]
    with Wire() as wire, behind(wire, argv, stdout=subprocess.PIPE) as victim:
        assert piped(victim.stdout).readline() == b"\n"
        with socket.create_connection((wire.address, 8080)) as client:
            assert b"".join(_exactly(client.recv, 7)) == b"metrics"


@pytest.mark.lab("wire")
def test_a_victim_sees_only_the_hub_and_is_the_process_that_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Wire() as wire:
        code = (
            "import os, socket, sys\n"
            "for host in ('127.0.0.1', '10.88.0.2', '192.0.2.1'):\n"
            "    try: socket.create_connection((host, int(sys.argv[1])))\n"
            "    except OSError: continue\n"
            "    sys.exit(1)\n"
            "sys.exit(0 if os.getpid() == int(sys.stdin.readline()) else 2)"
        )
        argv = [sys.executable, "-c", code, str(server.getsockname()[1])]
        with behind(wire, argv, stdin=subprocess.PIPE, text=True) as victim:
            victim.communicate(str(victim.pid))
            assert victim.returncode == 0
        assert wire.popen(["sh", "-c", "exit 7"]).wait() == 7


@pytest.mark.lab("wire")
def test_a_process_or_a_thread_may_join_by_itself() -> None:
    def connect(namespace: Path, address: tuple[str, int]) -> None:
        join(namespace)
        with socket.create_connection(address) as connection:
            connection.sendall(b"joined")

    with Wire() as wire, socket.create_server((HUB, 0)) as server:
        thread = threading.Thread(target=connect, args=(wire.namespace, server.getsockname()))
        thread.start()
        connection, (peer, _) = server.accept()
        with connection:
            assert peer == wire.address
            assert b"".join(_exactly(connection.recv, 6)) == b"joined"
        thread.join()


@pytest.mark.lab("wire")
def test_a_closed_wire_leaves_no_process_no_file_no_device_and_no_namespace() -> None:
    before = open_files()
    with Wire() as wire:
        namespace = str(wire.namespace.readlink())
        victim = wire.popen(["sh", "-c", "sleep 600 & sleep 600"])
        until(lambda: len(members(namespace)) == 4)  # the relay, the shell and both that sleep
    assert victim.returncode == -signal.SIGKILL
    until(lambda: members(namespace) == [])
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert open_files() == before
    for use in (wire.heal, wire.counts, lambda: wire.popen(["true"])):
        with pytest.raises(LabError, match="not open"):
            use()


@pytest.mark.lab("wire")
def test_the_end_of_the_process_that_holds_the_wire_ends_all_of_it() -> None:
    code = (
        "import time; from tests.faults.network import Wire\n"
        "wire = Wire().__enter__(); wire.popen(['sleep', '600'])\n"
        "print(wire.namespace.readlink(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        try:
            namespace = piped(holder.stdout).readline().decode().strip()
            until(lambda: len(members(namespace)) == 2)
        finally:
            holder.kill()
    until(lambda: members(namespace) == [])
    until(lambda: [name for _, name in socket.if_nameindex()] == ["lo"])


@pytest.mark.lab("wire")
def test_a_wire_whose_process_was_killed_says_so_and_still_ends_its_victims() -> None:
    with Wire() as wire:
        victim = wire.popen(["sleep", "600"])
        namespace = str(wire.namespace.readlink())
        until(lambda: len(members(namespace)) == 2)
        relay = int(wire.namespace.parts[2])
        os.kill(relay, signal.SIGKILL)
        with pytest.raises(LabError, match="wire"):
            wire.heal()
    assert victim.returncode == -signal.SIGKILL


@pytest.mark.parametrize("mtu", [67, 65_536])
def test_a_packet_size_that_ip_does_not_have_is_refused(mtu: int) -> None:
    with pytest.raises(ValueError, match=f"mtu is {mtu}"):
        Wire(mtu=mtu)


def test_outside_a_lab_no_wire_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULT_LAB", raising=False)
    with pytest.raises(LabError, match="not in a lab"), Wire():
        raise AssertionError


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def members(namespace: str) -> list[str]:
    """List the processes in a network namespace, and those that hold a file of it open."""
    found = []
    # Processes end meanwhile, and the files of other people's may not be looked at.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            files = (process / "ns/net", *(process / "fd").iterdir())
            if any(str(file.readlink()) == namespace for file in files):
                found.append(process.name)
    return found


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.fixture
def fetched() -> None:
    """Fetch Kafka while there is a network: in a lab there is none."""
    installed_kafka(None)


@pytest.mark.lab("wire")
@pytest.mark.usefixtures("fetched")
def test_a_kafka_client_behind_a_cut_wire_stalls_and_then_goes_on_without_a_gap(
    tmp_path: Path,
) -> None:
    with EmbeddedKafka(tmp_path, host=HUB) as kafka, Wire() as wire:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("talk", 1)])["talk"].result(30)
        argv = [sys.executable, "-m", "tests.faults.kafka_talk", kafka.bootstrap_servers, "talk"]
        with behind(wire, argv, cwd=ROOT, stdout=subprocess.PIPE, bufsize=0) as victim:
            said = Sayings(piped(victim.stdout))
            said.until_more("wrote", 5)
            said.until_more("read", 5)
            wire.set(cut="both", ports=kafka.ports)
            said.until_quiet(2.0)
            wire.heal()
            said.until_more("wrote", 5)
            said.until_more("read", 5)
    assert said.numbers("wrote") == list(range(len(said.numbers("wrote"))))
    assert said.numbers("read") == list(range(len(said.numbers("read"))))


class Sayings:
    """What a `kafka_talk` says."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.text = b""

    def numbers(self, word: str) -> list[int]:
        *lines, _ = self.text.decode().split("\n")
        return [int(line.split()[1]) for line in lines if line.startswith(word)]

    def until_more(self, word: str, count: int) -> None:
        goal = len(self.numbers(word)) + count
        while len(self.numbers(word)) < goal:
            self._read()

    def until_quiet(self, seconds: float) -> None:
        while select.select([self.file], [], [], seconds)[0]:
            self._read()

    def _read(self) -> None:
        data = self.file.read(65_536)
        assert data, "the client has ended"
        self.text += data
