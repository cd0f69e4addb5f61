"""/metrics, /healthz and /readyz on one port.

Live means that the loop turns, never that a broker answers: a restart does not mend the network.
Ready means that the process has joined its group, that the state of all assigned partitions is read
back, and that brokers answer.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from consumer.contract.errors import UsageError
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


class _Server(ThreadingHTTPServer):
    """Listens on IPv6 too, and on IPv4 with it where the address is that of all interfaces."""

    daemon_threads = True

    def __init__(self, address: Any, family: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind, without the base class's question to the DNS for this machine's name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # Of a name that is both, such as localhost, the one that it always was.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return _Server(address, family, handler)
    except (OSError, UnicodeError) as error:
        raise UsageError(_why(host, port, error)) from error


def _why(host: str, port: int, error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return (
                f"http.port is {port}, on which another process listens already (http.host is "
                f"{host!r}): stop it, or choose another port"
            )
        case errno.EACCES:
            return f"http.port is {port}, on which this process has no right to listen"
        case _:
            return f"http.host is {host!r}, on which this machine cannot listen: {error}"


@contextmanager
def serving(
    settings: HttpSettings, health: Health, registry: CollectorRegistry
) -> Iterator[int | None]:
    """Serve health and metrics meanwhile, in threads of their own.

    Parameters
    ----------
    settings
        Host and port; port 0 picks a free one, and without a port nothing is served.
    health, registry
        What is served.

    Yields
    ------
    The port that it listens on, or None.

    Raises
    ------
    UsageError
        If it cannot listen there, naming the setting and its value.
    """
    if settings.port is None:
        yield None
        return

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
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            logger.debug(format, *args)

    server = _listen(settings.host, settings.port, Handler)
    port: int = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    logger.info("health and metrics on port %d", port)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(good: bool, body: dict[str, Any]) -> tuple[int, str, bytes]:
    return 200 if good else 503, "application/json", json.dumps(body).encode() + b"\n"
