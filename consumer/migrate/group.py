"""Waiting until a group is stopped: how many members it has, and how long one stays after its end.

A member that was killed, or that closed under an instance id (it may come back), stays in the group
until its session is over. How long that is, the member's own client says under the classic protocol
(kafka.session_timeout_seconds). Under KIP-848 the brokers do, for each group, and the client's
setting means nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from confluent_kafka import ConsumerGroupType, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ConsumerGroupDescription

from consumer.kafka.asking import ask
from consumer.kafka.clients import admin_config
from consumer.migrate.errors import MigrationError
from consumer.settings import KafkaSettings

logger = logging.getLogger(__name__)

_SESSION = "consumer.session.timeout.ms"
# The longest that brokers allow by default (group.consumer.max.session.timeout.ms).
_LONGEST_SESSION_SECONDS = 60.0
# On top of a session: its end is noticed, told and asked for.
_MARGIN_SECONDS = 5.0
_LOOK_SECONDS = 0.5


def describe(kafka: KafkaSettings, group_id: str) -> ConsumerGroupDescription:
    """Ask for a group's type and members, without joining it.

    Raises
    ------
    MigrationError
        If the cluster does not say.
    """
    admin = AdminClient(admin_config(kafka))
    try:
        description: ConsumerGroupDescription = ask(
            lambda seconds: admin.describe_consumer_groups([group_id], request_timeout=seconds)[
                group_id
            ].result(),
            f"the members of group {group_id!r}",
            admin,
        )
    except KafkaException as error:
        raise MigrationError(
            f"cannot ask for the members of group {group_id!r}: {error.args[0].str()}"
        ) from error
    return description


def members_of(kafka: KafkaSettings, group_id: str) -> int:
    """Count the members of a group; raises as `describe`."""
    return len(describe(kafka, group_id).members)


def session_seconds(kafka: KafkaSettings, group_id: str) -> float:
    """Give how long a member stays in the group after its end; raises as `describe`.

    The group's own type goes before the setting: its members may have run with another one. Where
    the brokers do not say how long it is, it is 60 s, which is the most by default.
    """
    kinds = {ConsumerGroupType.CONSUMER, ConsumerGroupType.CLASSIC}
    kind = describe(kafka, group_id).type
    by_brokers = kind is ConsumerGroupType.CONSUMER or (
        kind not in kinds and kafka.group_protocol == "consumer"
    )
    if not by_brokers:
        return kafka.session_timeout_seconds
    admin = AdminClient(admin_config(kafka))
    resource = ConfigResource(ConfigResource.Type.GROUP, group_id)
    try:
        entries = ask(
            lambda seconds: admin.describe_configs([resource], request_timeout=seconds)[
                resource
            ].result(),
            f"the session of group {group_id!r}",
            admin,
        )
    except KafkaException as error:
        logger.info("cannot see %s of group %s: %s", _SESSION, group_id, error.args[0].str())
        return _LONGEST_SESSION_SECONDS
    entry = entries.get(_SESSION)
    return int(entry.value) / 1000 if entry else _LONGEST_SESSION_SECONDS


def wait_until_stopped(
    kafka: KafkaSettings,
    groups: Iterable[str],
    say: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until groups have no member, for as long as one may stay after its end.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    groups
        Their ids. They end their sessions side by side, so the time of waiting is one.
    say
        Told what is waited for, where it is.
    clock
        Seconds of a clock that never goes back.

    Raises
    ------
    MigrationError
        If a group has members after that, or the cluster does not say.
    """
    began = clock()
    for group_id in groups:
        count = members_of(kafka, group_id)
        if not count:
            continue
        seconds = session_seconds(kafka, group_id) + _MARGIN_SECONDS
        say(
            f"group {group_id} has {_members(count)}; waiting up to {seconds:.0f} s for their "
            "sessions to end, as of one that was killed or has a kafka.instance_id\n"
        )
        while count and clock() < began + seconds:
            time.sleep(_LOOK_SECONDS)
            count = members_of(kafka, group_id)
        if count:
            raise MigrationError(
                f"group {group_id!r} still has {_members(count)} after {seconds:.0f} s, in which "
                "the session of a member that was killed or closed would have ended: stop all "
                "workers and trainers first"
            )


def _members(count: int) -> str:
    return f"{count} {'member' if count == 1 else 'members'}"
