"""Child processes of the demo: started with the demo's own settings, watched by their metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from consumer.contract.errors import ExpectedError
from consumer.settings import PREFIX, Settings
from consumer.tryout.broker.config import free_ports

_HOST = "127.0.0.1"
_STOP_SECONDS = 30
_SCRAPE_SECONDS = 2
_QUOTED_LINES = 12


class ChildError(ExpectedError):
    """A child process ended though nobody asked it to."""


def environment(settings: Settings) -> dict[str, str]:
    """Give the environment that makes a child see exactly these settings, secrets included."""
    values = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) or name == "SEGMENTER_CACHE"
    }
    # The cores are for the embedding; on small products BLAS threads only wait for each other.
    values.setdefault("OPENBLAS_NUM_THREADS", "1")
    dumped = settings.model_dump(mode="json", exclude_none=True)
    dumped["kafka"]["secrets"] = {
        name: secret.get_secret_value() for name, secret in settings.kafka.secrets.items()
    }
    for section, content in dumped.items():
        values[PREFIX + section.upper()] = json.dumps(content)
    return values


@dataclass(slots=True)
class Child:
    """One process, its log and its metrics."""

    name: str
    arguments: Sequence[str]
    settings: Settings
    folder: Path
    module: str = "consumer.cli.main"
    """What Python runs; the project's command line, or one that stands in for it."""
    port: int = field(default_factory=lambda: free_ports(_HOST, 1)[0])
    _process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings.changed("http", host=_HOST, port=self.port)
        with self.log.open("wb") as log:
            # In a session of its own: Ctrl-C is for the demo, which then stops its children.
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", self.module, *self.arguments],
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """File of the process's log."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise if the process has ended.

        Raises
        ------
        ChildError
            Quoting the end of its log.
        """
        if (code := self.code) is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            tail = "\n  ".join(lines[-_QUOTED_LINES:])
            raise ChildError(f"the {self.name} ended with exit code {code}:\n  {tail}")

    def ready(self) -> bool:
        """Tell whether it says that it is ready."""
        return self._get("/readyz") is not None

    def metrics(self) -> Counter[str]:
        """Read its metrics, summed over labels; empty when it does not answer."""
        totals: Counter[str] = Counter()
        for family in text_string_to_metric_families(self._get("/metrics") or ""):
            for sample in family.samples:
                totals[sample.name] += sample.value  # type: ignore[assignment]
        return totals

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Wait for the end; kill it if it takes too long. Give the exit code."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end, as `wait` does."""
        self.send(number)
        return self.wait(_STOP_SECONDS)

    def _get(self, path: str) -> str | None:
        url = f"http://{_HOST}:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=_SCRAPE_SECONDS) as answer:
                body: bytes = answer.read()
        except OSError:  # not up yet, or not ready (503)
            return None
        return body.decode()
