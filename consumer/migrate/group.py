"""Waiting until a group is stopped: how many members it has, and how long one stays after its end.

A member that was killed, or that closed under an instance id (it may come back), stays in the group
until its session is over. How long that is, the member's own client says under the classic protocol
(kafka.session_timeout_seconds). Under KIP-848 the brokers do, for each group, and the client's
setting means nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from confluent_kafka import ConsumerGroupType, KafkaException
from confluent_kafka.admin import ConsumerGroupDescription, ResourceType

from consumer.contract.clock import Timer
from consumer.kafka.asking import Pace, ask
from consumer.kafka.cluster import Cluster
from consumer.migrate.errors import MigrationError
from consumer.report.wording import plural
from consumer.settings import KafkaSettings

_SESSION = "consumer.session.timeout.ms"
# The longest that brokers allow by default (group.consumer.max.session.timeout.ms).
_LONGEST_SESSION_MS = 60_000
_PACE = Pace(pause=0.5, longest_pause=0.5)


class Members:
    """Looks at the members of groups, without joining any.

    Parameters
    ----------
    kafka
        How to reach the cluster, and how long a member's session lasts under the classic protocol.
    cluster
        Is asked.
    session_seconds
        How long a session lasts, where that is not to be asked for.
    margin_seconds
        On top of a session: its end is noticed, told and asked for.
    timer
        What time it is.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        cluster: Cluster | None = None,
        *,
        session_seconds: float | None = None,
        margin_seconds: float = 5.0,
        timer: Timer = time,
    ) -> None:
        self._kafka = kafka
        self._cluster = cluster or Cluster(kafka)
        self._session = session_seconds
        self._margin = margin_seconds
        self._timer = timer

    def count(self, group_id: str) -> int:
        """Count the members of a group.

        Raises
        ------
        MigrationError
            If the cluster does not say.
        """
        return len(self._group(group_id).members)

    def counts(self, groups: Iterable[str]) -> dict[str, int]:
        """Count the members of groups; raises as `count`."""
        return {group_id: self.count(group_id) for group_id in groups}

    def session_seconds(self, group_id: str) -> float:
        """Give how long a member stays in the group after its end; raises as `count`.

        The group's own type goes before the setting: its members may have run with another one.
        Where the brokers do not say how long it is, it is 60 s, which is the most by default.
        """
        if self._session is not None:
            return self._session
        kind = self._group(group_id).type
        if kind not in {ConsumerGroupType.CONSUMER, ConsumerGroupType.CLASSIC}:
            by_brokers = self._kafka.group_protocol == "consumer"
        else:
            by_brokers = kind is ConsumerGroupType.CONSUMER
        if not by_brokers:
            return self._kafka.session_timeout_seconds
        told = self._cluster.properties(ResourceType.GROUP, group_id)
        return int(told.get(_SESSION, _LONGEST_SESSION_MS)) / 1000

    def wait_until_stopped(self, groups: Iterable[str], say: Callable[[str], object]) -> None:
        """Wait until groups have no member, for as long as one may stay after its end.

        Parameters
        ----------
        groups
            Their ids. They end their sessions side by side, so the time of waiting is one.
        say
            Told what is waited for, where it is.

        Raises
        ------
        MigrationError
            If a group has members after that, or the cluster does not say.
        """
        began = self._timer.monotonic()
        for group_id in groups:
            if not (count := self.count(group_id)):
                continue
            seconds = self.session_seconds(group_id) + self._margin
            say(
                f"group {group_id} has {plural(count, 'member')}; waiting up to {seconds:.0f} s "
                "for their sessions to end, as of one that was killed or has a kafka.instance_id\n"
            )
            if count := self._count_at(group_id, began + seconds):
                raise MigrationError(
                    f"group {group_id!r} still has {plural(count, 'member')} after {seconds:.0f} "
                    "s, in which the session of a member that was killed or closed would have "
                    "ended: stop all workers and trainers first"
                )

    def _count_at(self, group_id: str, deadline: float) -> int:
        """Count until there is none, or for so long."""
        return ask(
            lambda _: self.count(group_id),
            f"the end of group {group_id!r}",
            seconds=deadline - self._timer.monotonic(),
            enough=lambda members: not members,
            pace=_PACE,
            timer=self._timer,
        )

    def _group(self, group_id: str) -> ConsumerGroupDescription:
        try:
            return self._cluster.group(group_id)
        except KafkaException as error:
            raise MigrationError(
                f"cannot ask for the members of group {group_id!r}: {error.args[0].str()}"
            ) from error
