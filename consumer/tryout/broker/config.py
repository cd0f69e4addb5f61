"""A broker's configuration: what differs from Kafka's defaults, and why."""

from __future__ import annotations

import errno
import json
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.tryout.broker.errors import PortError

# Below the range from which Linux (32768) and macOS (49152) take the ports of outgoing connections:
# a client must not sit on the port of a broker that is down and has to come back.
PORT_RANGE = range(20_000, 32_000)
MESSAGE_MAX_BYTES = 16 * 1024 * 1024

# Quiet on what is said once at every start (all settings, three times), else Kafka's own level.
# Each start begins a file of its own, so that what it holds is of that start.
LOG4J_PROPERTIES = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = kafka.log
appender.file.filePattern = kafka.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
appender.file.policies.type = Policies
appender.file.policies.start.type = OnStartupTriggeringPolicy
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 9
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


@dataclass(frozen=True)
class Cluster:
    """What `cluster.json` remembers: Kafka's cluster id, and each node's two ports by index."""

    cluster_id: str
    ports: tuple[int, ...]
    controller_ports: tuple[int, ...]


def server_properties(
    host: str, cluster: Cluster, index: int, overrides: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the configuration of one node, broker and controller in one process.

    Its index is also Kafka's broker id.

    The controllers' quorum is the static one: its addresses stand here and not in the data, so
    that data can be opened again on other ports.
    """
    nodes = len(cluster.ports)
    voters = (f"{i}@{host}:{port}" for i, port in enumerate(cluster.controller_ports))
    clients = f"PLAINTEXT://{host}:{cluster.ports[index]}"
    controllers = f"CONTROLLER://{host}:{cluster.controller_ports[index]}"
    replicas, in_sync = str(min(3, nodes)), str(max(1, min(3, nodes) - 1))
    return {
        "process.roles": "broker,controller",
        "node.id": str(index),
        "controller.quorum.voters": ",".join(voters),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{clients},{controllers}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # Relative to the node's folder, so that neither the data nor its path is tied to a place.
        "log.dirs": "data",
        # A misspelt topic is an error, not a topic.
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # 50 each by default: for one machine only more files to open at every start.
        "offsets.topic.num.partitions": "6",
        "transaction.state.log.num.partitions": "6",
        "share.coordinator.state.topic.num.partitions": "3",
        "message.max.bytes": str(MESSAGE_MAX_BYTES),
        "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
        # Groups form and notice a dead member within seconds, and clients may ask for less.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "10000",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "group.consumer.heartbeat.interval.ms": "1000",
        # A transaction that timed out blocks read_committed readers until this next look.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # A killed broker is fenced, and let in again, after this session instead of 9 s.
        "broker.session.timeout.ms": "5000",
        "broker.heartbeat.interval.ms": "500",
        # Threads and memory for one machine; 128 MB of heap go to the log cleaner otherwise.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        **overrides,
    }


def to_java(properties: Mapping[str, str]) -> str:
    """Write a Java properties file; JSON's escapes in a string are Java's too."""
    return "".join(f"{key}={json.dumps(value)[1:-1]}\n" for key, value in properties.items())


def free_ports(host: str, count: int, avoid: Sequence[int] = ()) -> tuple[int, ...]:
    """Return ports that nobody listens on now and no outgoing connection will take.

    Raises
    ------
    PortError
        If the host is not an address of this machine, or too few ports are free.
    """
    found: list[int] = []
    for _ in range(len(PORT_RANGE)):
        if len(found) == count:
            return tuple(found)
        port = PORT_RANGE[secrets.randbelow(len(PORT_RANGE))]
        if port not in found and port not in avoid and not taken(host, (port,)):
            found.append(port)
    raise PortError(f"no {count} free ports on {host} in {PORT_RANGE}: end what listens there")


def taken(host: str, ports: Sequence[int]) -> list[int]:
    """Return those of the ports that cannot be bound because someone else listens on them."""
    return [port for port in ports if not _bindable(host, port)]


def _bindable(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As Java does it: connections of an earlier broker that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PortError(f"port {port} on {host} cannot be bound: {error.strerror}") from error
    return True
