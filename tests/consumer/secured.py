"""A broker that tells who did what with what, and the product's processes as users of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from consumer.kafka.rights import Right
from consumer.settings.sources import variable
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.broker import cluster as cluster_module
from consumer.tryout.broker import node as node_module
from consumer.tryout.broker.config import LOG4J_PROPERTIES, free_ports, server_properties

ROOT = Path(__file__).parents[2]
_JAAS = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_DECISIONS = """
logger.decisions.name = kafka.authorizer.logger
logger.decisions.level = debug
"""
_DECISION = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<answer>Allowed|Denied) operation = (?P<operation>\w+) "
    r"from .* on resource = (?P<kind>\w+):LITERAL:(?P<name>\S+) for request = (?P<request>\w+)"
)
# The embedder is a stand-in that hashes words: no model has to be loaded. A model "hashing-32" has
# 32 dimensions, any other as many as are asked for. What is read of the
# settings goes to a file at once, as a process may end by force. Some are read only where somebody
# asks for metrics: so whoever serves them is asked, again and again, which is noted too.
_RUN = """
import sys
from consumer.telemetry import health
from consumer.wiring import embedder
from tests.consumer.settings_read import ASKED, asked_for_metrics
from tests.consumer.settings_read import note_reads
from tests.stubs import HashingEmbedder
dimensions, noted = int(sys.argv.pop(1)), open(sys.argv.pop(1), "a", buffering=1)
note_reads(lambda name: print(name, file=noted), setattr)
health.serving = asked_for_metrics(health.serving, lambda: print(ASKED, file=noted))
def load(settings):
    kind, _, number = settings.embedding.model.partition("-")
    return HashingEmbedder(int(number) if kind == "hashing" else dimensions)
embedder.load_embedder = load
from consumer.cli.entry import main
sys.exit(main())
"""


KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}


def kafkas(operation: str) -> str:
    """DescribeConfigs as DESCRIBE_CONFIGS."""
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in operation)[1:].upper()


def bindings(user: str, right: Right) -> list[AclBinding]:
    """What lets a user do what a right says."""
    return [
        AclBinding(
            KINDS[right.kind],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[kafkas(operation)],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]


class SecuredKafka:
    """A broker with Kafka's own authorizer, and a second listener that asks who one is.

    Whoever comes by the first listener may do anything.
    """

    def __init__(self, kafka: EmbeddedKafka, port: int) -> None:
        self.bootstrap_servers = kafka.bootstrap_servers
        self.secured_servers = f"127.0.0.1:{port}"
        self._folder = kafka.data
        self._log = kafka.data / "broker-0" / "kafka.log"

    def decisions(self) -> set[tuple[str, str, str, str, str]]:
        """All that anybody has asked for: user, answer, kind of resource, its name, operation."""
        return {
            (found["user"], found["answer"], found["kind"], found["name"], found["operation"])
            for found in map(_DECISION.search, self._log.read_text().splitlines())
            if found
        }

    def settings_read(self, user: str) -> set[str]:
        """All settings that the processes of a user have read, by dotted name."""
        return set((self._folder / f"{user}.read").read_text().split())

    def environment(self, user: str, settings: Mapping[str, object]) -> dict[str, str]:
        """Give the environment of a process that is a user of the broker."""
        security = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
        }
        given = {
            "kafka.bootstrap_servers": self.secured_servers,
            "kafka.properties": security,
            "kafka.secrets": {"sasl.password": "x"},
            **settings,
        }
        plain = {name: value for name, value in os.environ.items() if "SEGMENTER" not in name}
        return plain | {
            variable(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in given.items()
        }

    @contextmanager
    def process(
        self, user: str, settings: Mapping[str, object], *words: str, dimensions: int = 64
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a command of the product as a user; it is ended when the context is."""
        noted = self._folder / f"{user}.read"
        command = [sys.executable, "-c", _RUN, str(dimensions), str(noted), *words]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(user, settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            try:
                yield running
            finally:
                running.terminate()

    def run(
        self, user: str, settings: Mapping[str, object], *words: str, dimensions: int = 64
    ) -> str:
        """Run a command to its end, which must be a good one; give what it says."""
        with self.process(user, settings, *words, dimensions=dimensions) as running:
            said, _ = running.communicate(timeout=240)
            assert running.returncode == 0, said
            return said


@contextmanager
def secured_kafka(data: Path, users: Iterable[str]) -> Iterator[SecuredKafka]:
    """Start such a broker, with a password for each user."""
    port = free_ports("127.0.0.1", 1)[0]
    passwords = "".join(f' user_{user}="x"' for user in users)

    def secured(*arguments: object) -> dict[str, str]:
        plain = server_properties(*arguments)  # type: ignore[arg-type]
        more = f",SECURED://127.0.0.1:{port}"
        return {
            **plain,
            "listeners": plain["listeners"] + more,
            "advertised.listeners": plain["advertised.listeners"] + more,
            "listener.security.protocol.map": plain["listener.security.protocol.map"]
            + ",SECURED:SASL_PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secured.plain.sasl.jaas.config": f"{_JAAS}{passwords};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cluster_module, "server_properties", secured)
        patched.setattr(node_module, "LOG4J_PROPERTIES", LOG4J_PROPERTIES + _DECISIONS)
        with EmbeddedKafka(data) as kafka:
            yield SecuredKafka(kafka, port)
