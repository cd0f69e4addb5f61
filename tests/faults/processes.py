"""Worker and trainer processes, and the supervisor that starts them again as Kubernetes would.

The processes are forked from a server that has imported everything, and then run the product's own
command line. So a start costs what it costs the product but for the imports, and a hundred kills
take minutes. The cheap embedder stands in for the real one; `tests/consumer/engine/test_group.py`
kills workers with the real one.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NoReturn

from confluent_kafka import KafkaError, KafkaException

import consumer.cli.main
import consumer.wiring.embedder
import consumer.wiring.trainer
import consumer.wiring.worker
import models.river_internals  # noqa: F401 - else each trainer loads River after its fork
from benchmarks.pipeline.builds import PROGRAM
from consumer.engine import crash_points
from consumer.engine.crash_points import CrashPoint
from consumer.engine.transactions import Transactions
from consumer.settings import Settings
from consumer.tryout.broker.config import free_ports
from consumer.tryout.demo.processes import environment
from tests.faults import defects
from tests.faults.inside import join
from tests.stubs import HashingEmbedder

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.processes"])

_PR_SET_PDEATHSIG = 1
_DAWDLE_SECONDS = 1.5


@dataclass(frozen=True)
class Fault:
    """What goes wrong inside a process, once.

    Attributes
    ----------
    point
        Where.
    passes
        At which pass of it.
    action
        `kill`: SIGKILL. `suspend`: SIGSTOP, somebody else has to send SIGCONT. `dawdle`: the same,
        and slow afterwards, so that the client's threads learn first that the group has gone on,
        and the loop does not know it yet. `lose_answer`: the end of the transaction is committed,
        its answer never comes. `lose_request`: the request for its end never arrives. `refuse`: the
        transaction has to be aborted. `freeze_brokers`: SIGSTOP for the brokers in `pids`.
    """

    point: CrashPoint
    passes: int
    action: str
    pids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Spec:
    """How a process is started."""

    name: str
    arguments: tuple[str, ...]
    settings: Settings
    folder: Path
    fault: Fault | None = None
    defect: str | None = None
    dimensions: int = 64
    slow: tuple[int, float] | None = None
    """The n-th batch takes this many seconds to embed."""
    newer: bool = False
    """Writes state in the next version of its format, as a later build would."""
    build: Path | None = None
    """A checkout of another build, with its `.venv`, that runs in place of this one; no fault of
    its inside can be had."""
    namespace: Path | None = None
    """Behind which wire it runs (`tests.faults.network.Wire.namespace`)."""

    @property
    def log(self) -> Path:
        """File of the process's log, over all its starts."""
        return self.folder / f"{self.name}.log"


def embedder_of(model: str, dimensions: int = 64) -> HashingEmbedder:
    """Give the cheap model of a name: `hashing-48` has 48 dimensions, any other has those given."""
    name, _, number = model.partition("-")
    return HashingEmbedder(int(number) if name == "hashing" else dimensions)


class _SlowEmbedder(HashingEmbedder):
    """Hangs at one batch."""

    def __init__(self, dimensions: int, batch: int, seconds: float) -> None:
        super().__init__(dimensions)
        self._left, self._seconds = batch, seconds

    def embed(self, texts: Sequence[str]) -> Any:
        self._left -= 1
        if self._left == 0:
            time.sleep(self._seconds)
        return super().embed(texts)


_OF_OTHER_BUILDS = {"SEGMENTER_ASSIGNMENT": {"margin": 0}}
"""Settings by section that only the other build knows, where this one's are 0: its margin is a
distance, and not a share of one."""


def run(spec: Spec) -> None:
    """Be the process that a spec describes; runs in a fork of the server."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if spec.namespace is not None:
        join(spec.namespace)
    with spec.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(environment(spec.settings))
    if spec.build is not None:
        _become(spec, spec.build)
    slow = None if spec.slow is None else _SlowEmbedder(spec.dimensions, *spec.slow)

    def load_embedder(settings: Settings) -> Any:
        return slow or embedder_of(settings.embedding.model, spec.dimensions)

    consumer.wiring.embedder.load_embedder = load_embedder
    if spec.defect is not None:
        defects.put_in(spec.defect)
    if spec.newer:
        defects.write_newer_formats()
    if spec.fault is not None:
        install(spec.fault)
    sys.stderr.write(f"=== start of {spec.name}, pid {os.getpid()}, fault {spec.fault}\n")
    # Without arguments of its own it is the process itself, which takes signals.
    sys.argv = ["segmenter", *spec.arguments]
    code = consumer.cli.main.main()
    sys.stderr.write(f"=== end of {spec.name}, exit code {code}\n")
    sys.stderr.flush()
    os._exit(code)


def _become(spec: Spec, build: Path) -> NoReturn:
    """Become another build's process; the signal at this parent's end outlasts that."""
    sys.stderr.write(f"=== start of {spec.name}, pid {os.getpid()}, build {build.name}\n")
    sys.stderr.flush()
    os.environ["PYTHONPATH"] = str(build)
    for section, own in _OF_OTHER_BUILDS.items():
        os.environ[section] = json.dumps({**json.loads(os.environ.get(section, "{}")), **own})
    python = build / ".venv/bin/python"
    os.chdir(build)
    os.execv(python, [str(python), str(PROGRAM), "hashing", *spec.arguments])


def install(fault: Fault) -> None:
    """Have a fault happen in this process."""
    passes = 0

    def hook(point: CrashPoint) -> None:
        nonlocal passes
        if point != fault.point:
            return
        passes += 1
        if passes == fault.passes:
            _act(fault)

    crash_points.install(hook)


def _act(fault: Fault) -> None:
    sys.stderr.write(f"=== fault {fault.action} at {fault.point}\n")
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action in ("suspend", "dawdle"):
        _suspend()
        time.sleep(_DAWDLE_SECONDS if fault.action == "dawdle" else 0)
    elif fault.action == "freeze_brokers":
        for pid in fault.pids:
            os.kill(pid, signal.SIGSTOP)
    elif fault.action == "refuse":
        raise KafkaException(
            KafkaError(KafkaError.INVALID_TXN_STATE, "the test refuses it", False, False, True)
        )
    else:
        _lose_end(real=fault.action == "lose_answer")


def _suspend() -> None:
    """Stop, and return only when somebody has made it go on."""
    before = time.monotonic()
    os.kill(os.getpid(), signal.SIGSTOP)
    # The call may return a moment before all threads stand still.
    while (now := time.monotonic()) - before < 1:
        before = now
        time.sleep(0.01)


def _lose_end(*, real: bool) -> None:
    """Make the next end of a transaction look like one whose answer does not come."""
    repeat = Transactions._repeat

    def lossy(self: Transactions, name: str, call: Callable[[float], None], budget: float) -> None:
        if name != "commit_transaction":
            repeat(self, name, call, budget)
            return
        Transactions._repeat = repeat  # type: ignore[method-assign]
        if real:
            repeat(self, name, call, budget)
        sys.stderr.write("=== the answer of an EndTxn is lost\n")
        raise KafkaException(
            KafkaError(KafkaError._TIMED_OUT, "the test lost it", False, True, False)
        )

    Transactions._repeat = lossy  # type: ignore[method-assign]


@dataclass
class Member:
    """One supervised process, over all its starts."""

    spec: Spec
    process: ForkServerProcess
    starts: int = 1
    wanted: bool = True
    suspended: bool = False
    exits: list[int] = field(default_factory=list)
    """Exit codes; the negative of a signal where one ended it."""
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """Process id of the present start."""
        return self.process.pid or 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the present start."""
        if self.process.is_alive():
            os.kill(self.pid, number)

    def faults_met(self) -> int:
        """Count the faults that have happened inside."""
        return self.spec.log.read_text(errors="replace").count("=== fault ")


class Supervisor:
    """Starts processes, and starts again what ends without having been asked to.

    Parameters
    ----------
    ended
        Told the name of each process that ended by itself.
    """

    def __init__(self, ended: Callable[[str], None] = lambda _name: None) -> None:
        self.next_fault: Callable[[str], Fault | None] = lambda _name: None
        """Asked at each start for the fault of that start."""
        self._ended = ended
        self.members: dict[str, Member] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, spec: Spec) -> Member:
        """Start a process and keep it running."""
        with self._lock:
            # A fault that was asked for happens once, not at every start.
            member = Member(replace(spec, fault=None, slow=None), self._spawn(spec))
            self.members[spec.name] = member
        return member

    def _spawn(self, spec: Spec) -> ForkServerProcess:
        (port,) = free_ports("127.0.0.1", 1)
        http = spec.settings.http.model_copy(update={"host": "127.0.0.1", "port": port})
        settings = spec.settings.model_copy(update={"http": http})
        fault = spec.fault or self.next_fault(spec.name)
        process = _context.Process(
            target=run, args=(replace(spec, settings=settings, fault=fault),), daemon=True
        )
        process.start()
        return process

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        """End a process for good; give its exit code."""
        with self._lock:
            member = self.members.pop(name)
            member.wanted = False
        member.signal(signal.SIGCONT)
        member.signal(number)
        return self._gone(member, seconds)

    @staticmethod
    def _gone(member: Member, seconds: float = 40) -> int:
        """Wait for the end of a process, or kill it; give its exit code."""
        member.process.join(seconds)
        if member.process.is_alive():
            member.process.kill()
            member.process.join()
        return member.process.exitcode or 0

    def restart(self, name: str, spec: Spec | None = None) -> int:
        """Stop a process cleanly and start it again, as a rolling restart does."""
        member = self.members[name]
        code = self.stop(name)
        fresh = self.start(spec or member.spec)
        fresh.exits = [*member.exits, code]
        return code

    def close(self) -> dict[str, int]:
        """End all; give their exit codes."""
        self._stopping.set()
        self._thread.join()
        members = dict(self.members)
        self.members.clear()
        for member in members.values():
            member.signal(signal.SIGCONT)
            # Once: a second one would end it by force.
            member.signal(signal.SIGTERM)
        return {name: self._gone(member) for name, member in members.items()}

    def _watch(self) -> None:
        while not self._stopping.wait(0.05):
            with self._lock:
                for member in self.members.values():
                    if not member.wanted or member.process.is_alive():
                        continue
                    member.exits.append(member.process.exitcode or 0)
                    self._ended(member.spec.name)
                    member.process = self._spawn(member.spec)
                    member.starts += 1
                    member.started = time.monotonic()


def write_model(path: Path, record: Any) -> Path:
    """Write a segment model for `--model`."""
    path.write_text(json.dumps(record.model_dump(mode="json")), encoding="utf-8")
    return path
