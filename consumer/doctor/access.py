"""Whether a role may do what it has to, found out without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AclOperation

from consumer.doctor.brokers import unreached
from consumer.doctor.facts import Finding, Role, failed, fine, skipped
from consumer.kafka.clients import made, producer_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.rights import Right, rights_of
from consumer.report.wording import plural
from consumer.settings import KafkaSettings, Settings

SUFFIX = "doctor"
"""What resources are asked by where a right is to all that begin alike."""

_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
# Longer than brokers allow, so that they refuse, after the right and before anything is written.
_REFUSED_TIMEOUT_MS = 2_147_483_647
_ADVICE = (
    "give it to the user that kafka.properties and kafka.secrets log in as (the table of rights is "
    "in docs/operations.md); one that was given just now takes its time to reach every broker"
)


def allowed(settings: Settings, role: Role, cluster: Cluster, seconds: float) -> Iterator[Finding]:
    """Hold what this client may do against the table of rights.

    Topics and groups are described, with the operations that the broker would allow. A
    transactional id is asked for with a timeout that no broker takes: it looks at the right first,
    then refuses the timeout, and no transaction and no id is made.
    """
    lacking: list[str] = []
    unknown: list[str] = []
    held = 0
    for right in rights_of(role, settings):
        wanted = {operation.lower() for operation in right.operations}
        try:
            granted = _granted(right, settings.kafka, cluster, seconds)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # what is missing is told of the topics
            if code not in _DENIED:
                yield unreached(settings.kafka, error, "rights")
                return
            granted = frozenset()
        if granted is None:
            unknown.append(_named(right))
            continue
        held += len(wanted & granted)
        missing = [each for each in right.operations if each.lower() not in granted]
        if missing:
            lacking.append(f"{', '.join(missing)} on {_named(right)}")
    for each in lacking:
        yield failed("rights", f"a {role} may not: {each}", _ADVICE)
    if unknown:
        yield skipped("rights", f"the broker does not tell what is allowed on {_some(unknown)}")
    elif not lacking:
        yield fine("rights", f"all {plural(held, 'operation')} that a {role} needs are allowed")


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _named(right: Right) -> str:
    return f"{right.kind} {right.name}{'*' if right.prefixed else ''}"


def _granted(
    right: Right, kafka: KafkaSettings, cluster: Cluster, seconds: float
) -> frozenset[str] | None:
    """Ask which operations are allowed, by their names in small letters; None: it is not told."""
    name = f"{right.name}{SUFFIX}" if right.prefixed else right.name
    told: list[AclOperation] | None
    if right.kind == "transactional id":
        return _of_transactional_id(name, kafka, seconds)
    if right.kind == "topic":
        topics = cluster.admin.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=seconds
        )
        told = topics[name].result().authorized_operations
    else:
        groups = cluster.admin.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=seconds
        )
        told = groups[name].result().authorized_operations
    return None if told is None else frozenset(each.name.replace("_", "").lower() for each in told)


def _of_transactional_id(name: str, kafka: KafkaSettings, seconds: float) -> frozenset[str]:
    config = {**producer_config(kafka, name), "transaction.timeout.ms": _REFUSED_TIMEOUT_MS}
    producer = made(Producer, config)
    try:
        producer.init_transactions(seconds)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.INVALID_TRANSACTION_TIMEOUT:
            raise
    return frozenset({"write", "describe"})
