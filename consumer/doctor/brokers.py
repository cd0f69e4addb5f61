"""Whether brokers answer, and can do what is asked of them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import confluent_kafka
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumer.doctor.facts import Finding, failed, fine, later, skipped, warning
from consumer.kafka.asking import passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import ClientSettingsError, admin_config, made
from consumer.kafka.cluster import Cluster
from consumer.report.wording import plural
from consumer.settings import KafkaSettings

_TOLD_SECONDS = 5.0
# With `debug=feature` librdkafka logs so what each broker takes: no client of Python tells it.
_RANGE = re.compile(r"ApiKey (?P<name>\w+) \(\d+\) Versions (?P<least>\d+)\.\.(?P<most>\d+)")


@dataclass(frozen=True)
class Needed:
    """A request that brokers have to take.

    Attributes
    ----------
    request, version
        By the names of Kafka's protocol.
    since
        The first version of Apache Kafka whose brokers take it.
    why
        What rests on it.
    wanted_by
        Tells by the settings whether it is needed.
    """

    request: str
    version: int
    since: str
    why: str
    wanted_by: Callable[[KafkaSettings], bool] = lambda _: True


NEEDED = (
    Needed("TxnOffsetCommit", 3, "2.5", "who has lost a partition commits nothing for it"),
    Needed("OffsetFetch", 7, "2.5", "no offset is read while a transaction decides on it"),
    Needed(
        *("JoinGroup", 5, "2.3", "kafka.instance_id"),
        wanted_by=lambda kafka: kafka.instance_id is not None,
    ),
    Needed(
        *("ConsumerGroupHeartbeat", 0, "4.0", "kafka.group_protocol = consumer"),
        wanted_by=lambda kafka: kafka.group_protocol == "consumer",
    ),
)
WANTED = (
    Needed("Metadata", 10, "2.8", "a topic that was made anew under its name is noticed"),
    Needed("ListOffsets", 7, "3.0", "the clock can be looked at"),
)


def reachable(cluster: Cluster, kafka: KafkaSettings, seconds: float) -> Finding:
    """Look whether any broker answers within so many seconds."""
    try:
        cluster.topics(seconds=seconds)
        described = cluster.admin.describe_cluster(request_timeout=seconds).result()
    except ClientSettingsError as error:
        return failed("brokers", str(error), "mend the properties of the client")
    except KafkaException as error:
        return unreached(kafka, error)
    nodes = ", ".join(f"{node.host}:{node.port}" for node in described.nodes)
    return fine("brokers", f"cluster {described.cluster_id}: {nodes}")


def unreached(kafka: KafkaSettings, error: KafkaException, check: str = "brokers") -> Finding:
    """Say why no broker answers: the cause where it is known, else the client's words."""
    lost = broker_log.latest() if passes(error.args[0]) else None
    if lost is None:
        at, told = kafka.bootstrap_servers, error.args[0].str()
        found, advice = passes(error.args[0]), "check kafka.bootstrap_servers and kafka.properties"
    else:
        at, cause, words = lost
        told, found, advice = f"{cause.what} ({words})", cause.passes, cause.hint
    return (later if found else failed)(check, f"no answer from {at}: {told}", advice)


def versions(kafka: KafkaSettings, seconds: float = _TOLD_SECONDS) -> Iterator[Finding]:
    """Look whether what answers takes the requests that are made of it."""
    client = f"confluent-kafka {confluent_kafka.version()}"
    library = f"librdkafka {confluent_kafka.libversion()[0]}"
    ranges = told_ranges(kafka, seconds)
    if not ranges:
        yield skipped("versions", f"{client}, {library}; the broker did not tell what it takes")
        return
    yield from judged(kafka, ranges, f"{client}, {library}")


def judged(
    kafka: KafkaSettings, ranges: dict[str, tuple[int, int]], client: str
) -> Iterator[Finding]:
    """Hold what a broker takes against what is needed.

    Parameters
    ----------
    kafka
        Some is needed under some settings only.
    ranges
        By request, its first and its last version.
    client
        What the client is, for the words.
    """

    def lacking(needed: tuple[Needed, ...]) -> list[Needed]:
        return [
            each
            for each in needed
            if each.wanted_by(kafka) and ranges.get(each.request, (0, -1))[1] < each.version
        ]

    for state, missing in ((failed, lacking(NEEDED)), (warning, lacking(WANTED))):
        for each in missing:
            told = f"the broker takes no {each.request} of version {each.version}: {each.why}"
            yield state("versions", told, f"Apache Kafka has it since {each.since}")
    if not lacking(NEEDED + WANTED):
        told = f"{client}; the broker takes {plural(len(ranges), 'kind')} of requests"
        yield fine("versions", f"{told}, all that are needed among them")


def told_ranges(kafka: KafkaSettings, seconds: float) -> dict[str, tuple[int, int]]:
    """Ask which requests a broker takes.

    Returns
    -------
    dict
        By request, the first and the last version; empty where it was not told in time.
    """
    lines: list[str] = []
    log = logging.Logger("doctor", logging.DEBUG)
    log.addHandler(_Into(lines))
    config = {**admin_config(kafka), "debug": "feature", "logger": log}
    admin = made(AdminClient, config)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        admin.poll(0.05)
        found = {
            match["name"]: (int(match["least"]), int(match["most"]))
            for match in map(_RANGE.search, list(lines))
            if match
        }
        # The lines of one broker come together.
        if found and not admin.poll(0.05):
            return found
    return {}


class _Into(logging.Handler):
    """Keeps lines."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
