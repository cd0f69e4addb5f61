"""Being the only member of a consumer group, and noticing when one is not any more.

A transaction without a member's generation is no fence: brokers take the offsets of a client that
never joined even while the group has members (the request's member fields are optional, since
KIP-447 added them later). So a migration joins, as a worker does. Its transactions carry its
generation, and a member that was thrown out finds them refused. Partitions change hands only when
the member that has them lets go, in a rebalance callback inside its poll: between two polls they
are the migration's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer

from consumer.engine.membership import Membership
from consumer.engine.transactions import FatalKafkaError
from consumer.kafka.asking import AT_ONCE, ask
from consumer.migrate.errors import MigrationError
from consumer.migrate.group import Members
from consumer.process import ending
from consumer.settings import KafkaSettings

logger = logging.getLogger(__name__)

# On top of a session, after which a member that died is out of the way.
_JOIN_SECONDS = 15


class SoleMember:
    """Has all partitions of a topic, in a group, for as long as nobody else joins.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    group_id
        The group.
    topic, partitions
        What its members share out, and how many there are.
    command
        What is run, for an error.
    members
        Tells how long one that died stays in the group.
    make
        Makes the client.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group_id: str,
        topic: str,
        partitions: int,
        *,
        command: str = "migrate",
        members: Members | None = None,
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._command = command
        self.group_id = group_id
        self._topic = topic
        self._all = frozenset(range(partitions))
        self._owned: set[int] = set()
        self._lost = False
        # An instance id is a worker's own name: here it would take that one's place.
        own = kafka.model_copy(update={"instance_id": None})
        self._membership = Membership(own, group_id, topic, make=make)
        self.consumer = self._membership.consumer
        self._members = members or Members(kafka)

    def __enter__(self) -> Self:
        try:
            self._join()
        except BaseException:
            self.consumer.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            ending.begin(kind.__name__)
        self.consumer.close()

    def check(self) -> None:
        """Make sure that all partitions still are this member's; keeps the membership alive.

        Raises
        ------
        MigrationError
            If another member has come, or this one was thrown out.
        """
        self._poll(0)
        if self._lost or self._owned != self._all:
            raise self._joined_by_another()

    def _join(self) -> None:
        self._membership.join(self)
        ask(
            lambda _: self._poll(0.1),
            f"all partitions of {self._topic}",
            seconds=self._members.session_seconds(self.group_id) + _JOIN_SECONDS,
            enough=lambda _: self._lost or self._owned == self._all,
            pace=AT_ONCE,
        )
        if self._lost or self._owned != self._all:
            raise self._joined_by_another()
        logger.info("the only member of group %s", self.group_id)

    def _poll(self, seconds: float) -> None:
        # It reads nothing by this client, so where its partitions stand is all the same.
        try:
            self._membership.poll(1, seconds)
        except FatalKafkaError as error:
            raise MigrationError(f"group {self.group_id!r}: {error}") from error

    def assigned(self, numbers: Sequence[int]) -> None:
        """Note them. Only the membership is wanted: records are read by a client of their own."""
        self._owned.update(numbers)

    def revoked(self, numbers: Sequence[int]) -> None:
        """Note that others have come."""
        self._lost = True
        self._owned.difference_update(numbers)
        self.consumer.incremental_unassign([])

    lost = revoked

    def _joined_by_another(self) -> MigrationError:
        return MigrationError(
            f"group {self.group_id!r} has another member, or has thrown this one out: stop all "
            f"workers and trainers of the group, then run 'segmenter {self._command}' again; what "
            "is done stays"
        )
