"""Processes that are told to end, and do: each a real one, under what hangs in the field."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.broker.config import free_ports
from consumer.tryout.demo.processes import environment
from tests.consumer.kafka_runs import settings_for, until

# Behaviour is asserted against the bound that is promised, on machines that are slow at times.
START_SECONDS = 120
PROMISED_SECONDS = 15
NOWHERE = "127.0.0.1:1"

HANGING = """
import logging, sys, threading
from consumer.process import ending

logging.basicConfig(stream=sys.stderr, level=logging.INFO)
{body}
"""


class Process:
    """A process whose standard error is kept."""

    def __init__(self, *command: str, settings: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        environment = {**os.environ, **(settings or {})}
        self._process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while words not in self.text:
            assert self._process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> float:
        self._process.send_signal(number)
        return time.monotonic()

    def code(self, seconds: float = START_SECONDS) -> int:
        code = self._process.wait(seconds)
        self._reading.join(START_SECONDS)
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self.lines.extend(lines)


@contextmanager
def python(body: str) -> Iterator[Process]:
    process = Process("-c", HANGING.format(body=body))
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def segmenter(*arguments: str, **settings: str) -> Iterator[Process]:
    process = Process("-m", "consumer.cli.main", *arguments, settings=settings)
    try:
        yield process
    finally:
        process.kill()


# A client that waits for brokers in C, where Python runs no handler of a signal.
IN_A_LIBRARY = """
from confluent_kafka.admin import AdminClient
client = AdminClient({{"bootstrap.servers": "127.0.0.1:1", "log_level": 0}})
hang = lambda: client.list_topics(timeout=600)
"""
IN_PYTHON = "hang = threading.Event().wait"


# What loads is held up, as on a machine that is slow.
LOADING = """
import sys
from consumer.cli import entry

class Slow:
    def find_spec(name, *_):
        if name == {module!r}:
            sys.stderr.write("loading\\n")
            threading.Event().wait()

sys.meta_path.insert(0, Slow)
sys.argv = ["segmenter", *{command!r}.split()]
entry.main()
"""


@pytest.mark.parametrize(
    ("command", "module", "code"),
    [
        ("worker", "consumer.cli.main", 0),
        ("replay", "consumer.cli.main", 130),
        ("worker", "consumer.wiring.worker", 0),
        ("trainer", "consumer.stages.training.stage", 0),
        ("intake --topics.raw-events raw", "consumer.engine.loop", 0),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_command_loads_ends_it_without_a_stack(
    command: str, module: str, code: int, number: signal.Signals
) -> None:
    with python(LOADING.format(command=command, module=module)) as process:
        process.wait_for("loading")
        process.signal(number)
        assert process.code() == code
        assert process.text == "loading\n"


def test_an_interrupted_command_leaves_at_once_before_the_thread_of_signals_has_run() -> None:
    body = """
from consumer.cli.command import exit_code

def run():
    raise KeyboardInterrupt  # as the main thread has it, without the other one
ending.watch(10)
code = exit_code(run)
threading.Thread(target=threading.Event().wait).start()  # would hold an end in order up for ever
ending.leave_if_begun(code)
"""
    with python(body) as process:
        assert process.code() == 130


@pytest.mark.parametrize("hang", [IN_PYTHON, IN_A_LIBRARY.replace("{{", "{").replace("}}", "}")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_that_does_not_come_is_forced_and_the_stacks_of_all_threads_are_told(
    hang: str, number: signal.Signals
) -> None:
    body = f"""
{hang}
ending.watch(0.5)
threading.Thread(target=threading.Event().wait, name="the-other", daemon=True).start()
def stuck():
    with ending.stopping_by(lambda: None):
        logging.info("begun")
        hang()
stuck()
"""
    with python(body) as process:
        process.wait_for("begun")
        process.signal(number)
        assert process.code() == 3
        assert f"{number.name} received" in process.text
        for words in ("thread MainThread:", "in stuck", "thread the-other:"):
            assert words in process.text


def test_a_second_signal_ends_it_at_once() -> None:
    body = """
ending.watch(3600)
with ending.stopping_by(lambda: logging.info("stopping")):
    logging.info("begun")
    threading.Event().wait()
"""
    with python(body) as process:
        process.wait_for("begun")
        process.signal()
        process.wait_for("stopping")
        process.signal(signal.SIGINT)
        assert process.code() == 3
        assert "SIGINT received while the process was ending" in process.text


def test_a_log_that_nobody_reads_does_not_hold_the_end_up() -> None:
    body = """
import os
reads, writes = os.pipe()
logging.basicConfig(stream=os.fdopen(writes, "w"), level=logging.INFO, force=True)
ending.watch(0.5)
def flood():
    while True:
        logging.info("x" * 1000)
with ending.stopping_by(lambda: None):
    print("begun", file=sys.stderr, flush=True)
    flood()
"""
    with python(body) as process:
        process.wait_for("begun")
        process.signal()
        assert process.code() == 3


def test_an_error_begins_the_end_too() -> None:
    body = """
ending.watch(0.5)
try:
    raise ValueError("a text of a review")
except ValueError as error:
    ending.begin(type(error).__name__)
    threading.Event().wait()  # something that is to be closed hangs
"""
    with python(body) as process:
        assert process.code() == 3
        assert "has not ended 0.5 s after: ValueError" in process.text
        assert "a text of a review" not in process.text.partition("its threads")[0]


HUNG_DEVICE = """
import numpy as np
from types import SimpleNamespace
from consumer.engine.batches import Batches
from consumer.contract.records import Record
from consumer.settings import BatchSettings
{imports}

class Hung:
    def get_inputs(self):
        return [SimpleNamespace(name="input_ids")]
    def run(self, *_):
        threading.Event().wait()

{runner}
settings = BatchSettings(max_records=1, prepare_timeout_seconds=0.2)
batches = Batches(lambda records: runner.run([np.arange(3)]), settings)
batches.collect([Record("t", 0, 0, 0, b"k", b"v")], lambda _: 0)
try:
    while True:
        batches.advance()
finally:
    batches.close()
    runner.close()
"""
CPU = (
    "from models.embedding.engine.runners import CpuRunner",
    "runner = CpuRunner(Hung(), dimensions=2, threads=2)",
)
GPU = (
    "from models.embedding.gpu.runner import GpuRunner\n"
    "from models.embedding.batching import PaddedLayout",
    "runner = GpuRunner([Hung()], PaddedLayout(0, 8), dimensions=2, most_tokens=8, pad_id=0,\n"
    "                   batch_tokens=64)",
)


@pytest.mark.parametrize(("imports", "runner"), [CPU, GPU], ids=["cpu", "gpu"])
def test_a_device_that_hangs_does_not_keep_the_process_alive(imports: str, runner: str) -> None:
    with python(HUNG_DEVICE.format(imports=imports, runner=runner)) as process:
        process.wait_for("PreparationHungError")
        assert process.code(PROMISED_SECONDS) == 1
        assert "is not prepared after 0.2 s" in process.text


def test_a_volume_that_hangs_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    fifo = tmp_path / "volume"
    os.mkfifo(fifo)  # to open it for writing waits for a reader, for ever
    body = f"""
from types import SimpleNamespace
from prometheus_client import CollectorRegistry
from consumer.state.checkpointer import Checkpointer
from consumer.telemetry.metrics import RestoreMetrics
from consumer.state.restored import Restored

store = SimpleNamespace(
    write=lambda *_, **__: open({str(fifo)!r}, "wb"), now=lambda: 0.0, max_age_seconds=3600,
)
stage = SimpleNamespace(snapshot=lambda partition: None)
checkpointer = Checkpointer(stage, store, 60, RestoreMetrics(CollectorRegistry()))
owner = SimpleNamespace(topic="user-profiles", partition=0)
checkpointer.assigned(Restored(0, None, 0, seconds=0, covered=5, owner=owner))
checkpointer.save_all()
checkpointer.close(0.5)
logging.info("closed")
"""
    with python(body) as process:
        process.wait_for("closed")
        assert process.code(PROMISED_SECONDS) == 0
        assert "1 checkpoints were not written in time" in process.text


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("trainer", 0),
        ("worker", 0),
        ("topics create", 130),
        ("verify --follow", 130),
        ("migrate --dry-run", 130),
    ],
)
def test_a_start_that_waits_for_brokers_says_so_and_ends_when_it_is_told_to(
    command: str, expected: int
) -> None:
    with segmenter(*command.split(), "--bootstrap-servers", NOWHERE) as process:
        process.wait_for(f"asking Kafka at {NOWHERE}")
        process.wait_for("it refuses the connection")
        process.signal()
        assert process.code(PROMISED_SECONDS) == expected
        assert process.text.count("Kafka cannot be reached") == 1
        assert "Traceback" not in process.text


def test_a_process_whose_brokers_are_frozen_is_not_ready_says_so_once_and_ends_in_time(
    tmp_path: Path,
) -> None:
    # Of its own: one that was frozen is slow for a while, for whoever comes next.
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        _freeze_and_stop(broker)


def _freeze_and_stop(broker: EmbeddedKafka) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    settings = environment(
        settings_for(
            broker.bootstrap_servers,
            kafka={"revoke_seconds": 1},
            http={"host": "127.0.0.1", "port": port},
        )
    )

    def readiness() -> dict[str, object]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return {"status": answer.status, **json.loads(answer.read())}
        except OSError:  # not up yet
            return {"status": 0}
        finally:
            connection.close()

    with segmenter("trainer", **settings) as process:
        # Each comes in its own time: ready it is as soon as it stands by, without its partition.
        ready = {"status": 200, "connected": True, "assigned": [0]}
        until(lambda: ready.items() <= readiness().items())
        broker.pause(0)
        try:
            until(lambda: readiness()["status"] == 503)
            assert readiness()["connected"] is False
            # The client may have to wait out a request that has 60 s (socket.timeout.ms).
            until(lambda: "it does not answer (time-out)" in process.text, 180)
            process.signal()
            assert process.code(1 + PROMISED_SECONDS) == 0
        finally:
            broker.resume(0)
        assert process.text.count("Kafka cannot be reached") == 1
