"""A real Prometheus on loopback, and what is asked of it."""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from consumer.tryout.broker.config import free_ports

_HOST = "127.0.0.1"
_READY_SECONDS = 60
_STOP_SECONDS = 30
_ANSWER_SECONDS = 30


class PrometheusError(Exception):
    """Prometheus did not start, or refused a query."""


class Prometheus:
    """A server that scrapes some targets every second, as long as the `with` block lasts.

    Parameters
    ----------
    program
        The program.
    folder
        For its data, configuration and log.
    rules
        File of rules.
    targets
        Ports on this machine by job.
    """

    def __init__(
        self, program: Path, folder: Path, rules: Path, targets: Mapping[str, Sequence[int]]
    ) -> None:
        self._program = program
        self._folder = folder
        self._rules = rules
        self._targets = targets
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def __enter__(self) -> Self:
        (self._port,) = free_ports(_HOST, 1)
        self._folder.mkdir(parents=True)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self._rules.absolute())],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"{_HOST}:{p}" for p in ports]}]}
                for job, ports in self._targets.items()
            ],
        }
        # JSON is YAML.
        path = self._folder / "prometheus.yml"
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    f"--config.file={path}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={_HOST}:{self._port}",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started = time.time()
        try:
            self._await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self._url("/-/ready"), timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise PrometheusError("Prometheus did not get ready:\n  " + "\n  ".join(tail))

    def _url(self, path: str) -> str:
        return f"http://{_HOST}:{self._port}{path}"

    def _ask(self, path: str, **parameters: str) -> Any:
        url = self._url(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            raise PrometheusError(f"Prometheus refuses {parameters}: {body}") from error

    def at_once(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; give the series whose value is a number."""
        data = self._ask("query", query=expr)
        if data["resultType"] != "vector":
            raise PrometheusError(f"{expr!r} gives a {data['resultType']}, not series")
        return with_numbers(data["result"])

    def over_time(self, expr: str, step: float = 1.0) -> list[dict[str, Any]]:
        """Evaluate an expression from the start until now; give series with any number."""
        data = self._ask(
            "query_range",
            query=expr,
            start=str(self.started),
            end=str(time.time()),
            step=str(step),
        )
        return with_numbers(data["result"])

    def label_values(self, series: str, label: str) -> list[str]:
        """Give the values of a label that some series have."""
        values: list[str] = self._ask(f"label/{label}/values", **{"match[]": series})
        return values

    def rules(self) -> list[dict[str, Any]]:
        """Give all rules with their health, and alerts with their state."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def targets_down(self) -> list[str]:
        """Give what is wrong with targets that cannot be scraped."""
        return [
            f"{target['scrapeUrl']}: {target['lastError']}"
            for target in self._ask("targets")["activeTargets"]
            if target["health"] == "down"
        ]


def with_numbers(series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out series that are no number at any time, such as a share of nothing."""
    return [
        each
        for each in series
        if not all(math.isnan(float(value)) for _, value in each.get("values") or [each["value"]])
    ]
