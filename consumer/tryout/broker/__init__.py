"""A real Apache Kafka on this machine, from pip alone: for the demo, the tests and a first try."""

from consumer.tryout.broker.cluster import EmbeddedKafka
from consumer.tryout.broker.command import run_broker
from consumer.tryout.broker.errors import (
    BrokerError,
    DataFolderError,
    JarsError,
    PortError,
    StartError,
)
from consumer.tryout.broker.jars import KAFKA_VERSION

__all__ = [
    "KAFKA_VERSION",
    "BrokerError",
    "DataFolderError",
    "EmbeddedKafka",
    "JarsError",
    "PortError",
    "StartError",
    "run_broker",
]
