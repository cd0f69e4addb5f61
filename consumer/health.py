"""/metrics, /healthz and /readyz on one port.

Live means that the loop turns, never that a broker answers: a restart does not mend the network.
Ready means that the state of all assigned partitions is read back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from consumer.settings import HttpSettings

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Health:
    """What the loop tells of itself; written by the loop, read by the server's threads."""

    live_seconds: float
    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    """Whether the process has its place in the group, and its state is read back."""
    connected: Callable[[], bool] | None = None
    """Whether brokers answer; None in a process that is ready without."""
    facts: Callable[[], dict[str, Any]] = dict
    """What else there is to know, at the moment of the question."""
    detail: dict[str, Any] = field(default_factory=dict)
    """What there is to know of a process that is not ready, such as a restore's progress."""
    _ticked: float = field(init=False)

    def __post_init__(self) -> None:
        self._ticked = self.clock()

    def tick(self) -> None:
        """Say that the loop turns."""
        self._ticked = self.clock()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Say whether the process is ready, and what /readyz shows."""
        connected = {} if self.connected is None else {"connected": self.connected()}
        ready = self.ready and all(connected.values())
        return ready, {"ready": ready, **connected, **self.facts(), **self.detail}

    @property
    def live(self) -> bool:
        """Whether the loop turned of late."""
        return self.clock() - self._ticked <= self.live_seconds


class HealthServer:
    """Serves health and metrics in threads of its own.

    Parameters
    ----------
    settings
        Host and port; port 0 picks a free one.
    health, registry
        What is served.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(self, settings: HttpSettings, health: Health, registry: CollectorRegistry) -> None:
        def routes(path: str) -> tuple[int, str, bytes]:
            if path == "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            if path == "/healthz":
                return _answer(health.live, {"live": health.live})
            if path == "/readyz":
                return _answer(*health.readiness())
            return 404, "text/plain", b"try /metrics, /healthz or /readyz\n"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = routes(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                logger.debug(format, *args)

        self._server = ThreadingHTTPServer((settings.host, settings.port or 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(good: bool, body: dict[str, Any]) -> tuple[int, str, bytes]:
    return 200 if good else 503, "application/json", json.dumps(body).encode() + b"\n"
