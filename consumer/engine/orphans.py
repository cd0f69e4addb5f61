"""Finds partitions that the group has given to nobody, and has it share them out again.

A cooperative rebalance takes two rounds: first members give partitions up, then they join again and
others get them. A static member that ends between the two and is back within its session gets its
place without a rebalance, as static members should, and nobody begins the second round: the
partitions that it gave up are nobody's until the next rebalance, which may be never. The classic
protocol cannot tell (KIP-345 and KIP-429 do not know of each other); under KIP-848 the brokers see
to it.

So each worker looks now and then at the partitions that are not its own. Where records wait, the
committed offset has stood still for several looks, and the coordinator has given the partition to
none of its members, it joins the group once more for a moment, without a name: that makes a
rebalance. What a member has is left alone, however long it stands still: another member, if for a
moment, may have it taken away while its state is read back, which would begin anew each time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    ConsumerGroupState,
    KafkaException,
    TopicPartition,
)

from consumer.kafka.asking import AT_ONCE, ask
from consumer.kafka.background import Background
from consumer.kafka.clients import consumer_config, made
from consumer.kafka.cluster import Cluster
from consumer.settings import KafkaSettings

logger = logging.getLogger(__name__)

# Looks without movement before a partition counts as nobody's.
_LOOKS = 3
_JOIN_SECONDS = 15.0
_READ_SECONDS = 10.0


class OrphanWatch:
    """Looks for such partitions, in a thread of its own.

    Parameters
    ----------
    cluster
        Is asked.
    group_id, topic, partition_count
        The group and its input.
    every_seconds
        Between two looks. A session, so that a member that died is out of the group before its
        partitions count as nobody's.
    share_out
        Has the group share its partitions out again.
    """

    def __init__(
        self,
        cluster: Cluster,
        group_id: str,
        topic: str,
        partition_count: int,
        *,
        every_seconds: float,
        share_out: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._group_id = group_id
        self._topic = topic
        self._count = partition_count
        self._share_out = share_out
        self._before: dict[int, int] = {}
        self._still: Counter[int] = Counter()
        self._own: Collection[int] = ()
        self._looking: Background[None] = Background(
            "orphans", "looking for partitions without an owner", self.look, every_seconds
        )

    def tick(self, own: Collection[int]) -> None:
        """Begin with a look if it is time for one; `own` are this member's partitions."""
        self._own = frozenset(own)
        self._looking.tick()

    def look(self) -> None:
        """Look once, and make the group rebalance where partitions are nobody's.

        Raises
        ------
        KafkaException
            If the cluster does not answer.
        """
        places = self._cluster.committed(
            self._group_id, self._topic, range(self._count), stable=False
        )
        own = self._own
        for place in places:
            number = place.partition
            stands = number not in own and self._before.get(number) == place.offset
            self._still[number] = self._still[number] + 1 if stands else 0
            self._before[number] = place.offset
        orphans = [
            place.partition
            for place in places
            if self._still[place.partition] >= _LOOKS and self._waits(place)
        ]
        if orphans and (orphans := self._given_to_nobody(orphans)):
            logger.warning(
                "nobody reads partitions %s of %s though records wait there: asking the group to "
                "share its partitions out again",
                orphans,
                self._topic,
            )
            self._still.clear()
            self._share_out()

    def _given_to_nobody(self, numbers: Sequence[int]) -> list[int]:
        """Give the partitions that no member has; none while the group is sharing them out."""
        group = self._cluster.group(self._group_id)
        if group.state is not ConsumerGroupState.STABLE:
            return []
        given = {
            place.partition
            for member in group.members
            for place in (member.assignment.topic_partitions if member.assignment else ())
            if place.topic == self._topic
        }
        return [number for number in numbers if number not in given]

    def close(self) -> None:
        """End the thread."""
        self._looking.close()

    def _waits(self, place: TopicPartition) -> bool:
        """Tell whether there is a record to read; markers of transactions take offsets too."""
        first, end = self._cluster.watermarks(self._topic, place.partition)
        start = max(place.offset, first)
        if place.offset == OFFSET_INVALID or place.offset > end:  # the topic may be made anew
            start = first
        records = self._cluster.read(
            self._topic,
            place.partition,
            end,
            start=start,
            no_progress_seconds=_READ_SECONDS,
        )
        with closing(records):
            return next(records, None) is not None


def rebalance(kafka: KafkaSettings, group_id: str, topic: str) -> None:
    """Join a group without a name, and leave it again: a rebalance each.

    Raises
    ------
    KafkaException
        If the group does not let another member in.
    """
    nameless = kafka.model_copy(update={"instance_id": None})
    joined: list[bool] = []
    client = made(Consumer, consumer_config(nameless, group_id))
    try:
        # What it is given it never reads: it is given back at once.
        client.subscribe([topic], on_assign=lambda *_: joined.append(True))
        ask(
            lambda _: client.consume(1, 0.1),
            "a place in the group for a moment",
            seconds=_JOIN_SECONDS,
            enough=lambda _: bool(joined),
            pace=AT_ONCE,
        )
    finally:
        client.close()
    if not joined:
        raise KafkaException("the group did not let another member in")
