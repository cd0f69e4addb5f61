"""Finds partitions that the group has given to nobody, and has it share them out again.

A cooperative rebalance takes two rounds: first members give partitions up, then they join again and
others get them. A static member that ends between the two and is back within its session gets its
place without a rebalance, as static members should, and nobody begins the second round: the
partitions that it gave up are nobody's until the next rebalance, which may be never. The classic
protocol cannot tell (KIP-345 and KIP-429 do not know of each other); under KIP-848 the brokers see
to it.

So each worker looks now and then at the partitions that are not its own. Where records wait and the
committed offset has stood still for several looks, it joins the group once more for a moment,
without a name: that makes a rebalance. An owner that is merely slow keeps its partitions in it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import closing

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from consumer.kafka.clients import consumer_config
from consumer.kafka.reader import committed_offsets, read_partition, watermarks
from consumer.settings import KafkaSettings
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

# Looks without movement before a partition counts as nobody's.
_LOOKS = 3
_JOIN_SECONDS = 15.0
_READ_SECONDS = 10.0


class OrphanWatch:
    """Looks for such partitions, in a thread of its own.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    group_id, topic, partition_count
        The group and its input.
    every_seconds
        Between two looks. A session, so that a member that died is out of the group before its
        partitions count as nobody's.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group_id: str,
        topic: str,
        partition_count: int,
        every_seconds: float,
    ) -> None:
        self._kafka = kafka
        self._group_id = group_id
        self._topic = topic
        self._count = partition_count
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds
        self._before: dict[int, int] = {}
        self._still: Counter[int] = Counter()
        self._thread = DaemonPool(1, "orphans")
        self._look: Future[None] | None = None

    def tick(self, own: Collection[int]) -> None:
        """Begin with a look if it is time for one; `own` are this member's partitions."""
        if time.monotonic() < self._next or (self._look is not None and not self._look.done()):
            return
        if self._look is not None and (error := self._look.exception()) is not None:
            logger.info("looking for partitions without an owner: %s", error)
        self._next = time.monotonic() + self._every
        mine = frozenset(own)
        self._look = self._thread.submit(lambda: self.look(mine))

    def look(self, own: frozenset[int]) -> None:
        """Look once, and make the group rebalance where partitions are nobody's.

        Raises
        ------
        KafkaException
            If the cluster does not answer.
        """
        places = committed_offsets(
            self._kafka, self._group_id, self._topic, range(self._count), stable=False
        )
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
        if orphans:
            logger.warning(
                "nobody reads partitions %s of %s though records wait there: asking the group to "
                "share its partitions out again",
                orphans,
                self._topic,
            )
            self._still.clear()
            self._make_rebalance()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _waits(self, place: TopicPartition) -> bool:
        """Tell whether there is a record to read; markers of transactions take offsets too."""
        first, end = watermarks(self._kafka, self._topic, place.partition)
        start = max(place.offset, first)
        if place.offset == OFFSET_INVALID or place.offset > end:  # the topic may be made anew
            start = first
        records = read_partition(
            self._kafka,
            self._topic,
            place.partition,
            end,
            start=start,
            no_progress_seconds=_READ_SECONDS,
        )
        with closing(records):
            return next(records, None) is not None

    def _make_rebalance(self) -> None:
        """Join without a name, and leave again: a rebalance each."""
        nameless = self._kafka.model_copy(update={"instance_id": None})
        joined: list[bool] = []
        client = Consumer(consumer_config(nameless, self._group_id))
        try:
            # What it is given it never reads: it is given back at once.
            client.subscribe([self._topic], on_assign=lambda *_: joined.append(True))
            deadline = time.monotonic() + _JOIN_SECONDS
            while not joined and time.monotonic() < deadline:
                client.consume(1, 0.1)
        finally:
            client.close()
        if not joined:
            raise KafkaException("the group did not let another member in")
