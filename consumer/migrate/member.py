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
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, TopicPartition

from consumer.kafka.asking import AT_ONCE, ask
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import consumer_config
from consumer.migrate.errors import MigrationError
from consumer.migrate.group import Members
from consumer.process import ending
from consumer.settings import KafkaSettings

logger = logging.getLogger(__name__)

# On top of a session, after which a member that died is out of the way.
_JOIN_SECONDS = 15
_OF_READING = {KafkaError._AUTO_OFFSET_RESET, KafkaError._PARTITION_EOF}


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
    """

    def __init__(self, kafka: KafkaSettings, group_id: str, topic: str, partitions: int) -> None:
        self.group_id = group_id
        self._topic = topic
        self._all = frozenset(range(partitions))
        self._owned: set[int] = set()
        self._lost = False
        # An instance id is a worker's own name: here it would take that one's place.
        own = kafka.model_copy(update={"instance_id": None})
        self.consumer = Consumer(consumer_config(own, group_id))
        self._kafka = kafka

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
        self.consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        ask(
            lambda _: self._poll(0.1),
            f"all partitions of {self._topic}",
            seconds=Members(self._kafka).session_seconds(self.group_id) + _JOIN_SECONDS,
            enough=lambda _: self._lost or self._owned == self._all,
            pace=AT_ONCE,
        )
        if self._lost or self._owned != self._all:
            raise self._joined_by_another()
        logger.info("the only member of group %s", self.group_id)

    def _poll(self, seconds: float) -> None:
        for message in self.consumer.consume(1, seconds):
            error = message.error()
            # It reads nothing by this client, so where its partitions stand is all the same.
            if error is not None and error.code() not in _OF_READING:
                if error.fatal():
                    raise MigrationError(f"group {self.group_id!r}: {error.str()}")
                broker_log.error(error.name(), error.str())

    # Nothing in these can raise: raised inside of a poll it would be lost.

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign(places)
        # Only the membership is wanted: records are read by a client of their own.
        consumer.pause(places)
        self._owned.update(place.partition for place in places)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._lost = True
        self._owned.difference_update(place.partition for place in places)
        consumer.incremental_unassign(places)

    def _joined_by_another(self) -> MigrationError:
        return MigrationError(
            f"group {self.group_id!r} has another member, or has thrown this one out: stop all "
            "workers and trainers of the group, then run 'segmenter migrate' again; what is "
            "migrated stays"
        )
