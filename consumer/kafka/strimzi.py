"""The topics, and who may do what with them, as resources of the Strimzi operator for Kafka."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import get_args

from confluent_kafka.cimpl import NewTopic

from consumer.kafka.rights import Command, Kind, Right, rights_of
from consumer.kafka.topics import new_topics
from consumer.settings import Settings

CLUSTER = "kafka"
"""What the Kafka resource is called where nothing else is said."""

_KINDS: dict[Kind, str] = {
    "topic": "topic",
    "group": "group",
    "transactional id": "transactionalId",
}
# Strimzi makes the topics.
_NO_USERS = {"topics create"}


def strimzi_topics(settings: Settings, cluster: str = CLUSTER) -> str:
    """Write a KafkaTopic for each topic that the project makes, as YAML.

    Parameters
    ----------
    settings
        Names, and what topics are made with; the replication factor is the brokers' where it is -1.
    cluster
        Name of the Kafka resource.
    """
    return "".join(_topic(each, cluster) for each in new_topics(settings))


def strimzi_users(settings: Settings, cluster: str = CLUSTER) -> str:
    """Write a KafkaUser with a certificate and the rights that it needs for each command, as YAML.

    Parameters
    ----------
    settings
        Names of topics and group.
    cluster
        Name of the Kafka resource.
    """
    return "".join(_user(command, settings, cluster) for command in _commands(settings))


@dataclass(frozen=True, slots=True)
class Additions:
    """What has to be there besides where something is switched on.

    Attributes
    ----------
    topics, users
        Resources of topics and users that are new, as YAML.
    patches
        Entries of a kustomization's `patches`: rights on new resources for users that are not new.
    """

    topics: str
    users: str
    patches: str


def strimzi_additions(base: Settings, settings: Settings, most: Settings) -> Additions:
    """Write what has to be added to the resources of some settings for those of others.

    Parameters
    ----------
    base, settings
        The former, and those under which more is there.
    most
        Those under which all is there that may be added elsewhere. New users have rights on that,
        too: what is added first cannot give rights to a user who is added later.
    """
    there = {each.topic for each in new_topics(base)}
    commands = {*_commands(base)}
    return Additions(
        "".join(_topic(each, CLUSTER) for each in new_topics(settings) if each.topic not in there),
        "".join(
            _user(command, most, CLUSTER)
            for command in _commands(settings)
            if command not in commands
        ),
        "".join(_more_rights(command, base, settings) for command in _commands(base)),
    )


def _commands(settings: Settings) -> list[Command]:
    """Give the commands that have a user."""
    return [
        command
        for command in get_args(Command)
        if command not in _NO_USERS
        and (command != "intake" or settings.topics.raw_events)
        and (command != "recommender" or settings.recommendations.enabled)
        and (command != "rules run" or settings.rules.enabled)
    ]


def _more_rights(command: Command, base: Settings, settings: Settings) -> str:
    former = rights_of(command, base)
    found = [each for each in rights_of(command, settings) if each not in former]
    if not found:
        return ""
    lines = [
        "  - target:",
        "      kind: KafkaUser",
        f"      name: {user_name(command, settings)}",
        "    patch: |",
    ]
    for right in found:
        lines += ["      - op: add", "        path: /spec/authorization/acls/-", "        value:"]
        lines += [f"  {line.replace('- ', '  ', 1)}" for line in _acl(right)]
    return "\n".join(lines) + "\n"


def resource_name(topic: str) -> str:
    """Name a topic's resource: lower case, no underscores, as Kubernetes wants it."""
    return topic.lower().replace("_", "-").strip("-.")


def user_name(command: Command, settings: Settings) -> str:
    """Name the resource of a command's user; that of a second group begins with its prefix."""
    prefix = settings.topics.prefix or ""
    return resource_name(f"{prefix}segmenter-{command}".replace(" ", "-"))


def _topic(topic: NewTopic, cluster: str) -> str:
    config = sorted((topic.config or {}).items())
    lines = [
        *_head("KafkaTopic", resource_name(topic.topic), cluster),
        "spec:",
        f"  topicName: {json.dumps(topic.topic)}",
        f"  partitions: {topic.num_partitions}",
        *([f"  replicas: {topic.replication_factor}"] if topic.replication_factor > 0 else []),
        *(["  config:"] if config else []),
        # Bare, so that numbers are numbers.
        *(f"    {name}: {value}" for name, value in config),
    ]
    return "\n".join(lines) + "\n"


def _user(command: Command, settings: Settings, cluster: str) -> str:
    found = rights_of(command, settings)
    lines = [
        *_head("KafkaUser", user_name(command, settings), cluster),
        "spec:",
        "  authentication:",
        "    type: tls",
        "  authorization:",
        "    type: simple",
        "    acls:",
        *(line for each in found for line in _acl(each)),
    ]
    return "\n".join(lines) + "\n"


def _head(kind: str, name: str, cluster: str) -> list[str]:
    return [
        "---",
        "apiVersion: kafka.strimzi.io/v1",
        f"kind: {kind}",
        "metadata:",
        f"  name: {json.dumps(name)}",
        "  labels:",
        f"    strimzi.io/cluster: {json.dumps(cluster)}",
    ]


def _acl(right: Right) -> list[str]:
    return [
        "      - resource:",
        f"          type: {_KINDS[right.kind]}",
        f"          name: {json.dumps(right.name)}",
        f"          patternType: {'prefix' if right.prefixed else 'literal'}",
        f"        operations: [{', '.join(right.operations)}]",
    ]
