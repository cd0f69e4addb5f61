"""A real Apache Kafka on this machine, from pip alone: for the demo, the tests and a first try."""

from consumer.broker.cluster import EmbeddedKafka
from consumer.broker.command import run_broker
from consumer.broker.errors import (
    BrokerError,
    DataFolderError,
    JarsError,
    PortError,
    StartError,
)
from consumer.broker.jars import KAFKA_VERSION

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
