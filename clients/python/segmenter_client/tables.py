"""Tables that are kept up to date from compacted topics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from segmenter_client.records import Change, SegmentName, UserItems

Row = TypeVar("Row", Change, SegmentName, UserItems)
_AT_ONCE = 1000
_AGAIN_SECONDS = 0.1
_NO_LEADER = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}


class Table(Generic[Row]):
    """The latest record of each key of a topic.

    It joins no group: every process has all of it. `refresh` reads what has come since; nothing is
    read in between.
    """

    _row: type[Row]

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        properties: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
    ) -> None:
        self._topic = topic
        self._rows: dict[str, Row] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"segmenter-client-table-{topic}",  # asked for, and never joined
                **(properties or {}),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            self._begin(seconds)
            self.refresh(seconds)
        except BaseException:
            self._consumer.close()
            raise

    def _begin(self, seconds: float) -> None:
        found = self._consumer.list_topics(self._topic, timeout=seconds).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        self._partitions = set(found.partitions)
        self._consumer.assign(
            [TopicPartition(self._topic, n, OFFSET_BEGINNING) for n in self._partitions]
        )

    def refresh(self, seconds: float = 60.0) -> int:
        """Read what has come up to now; give the number of records.

        Raises
        ------
        TimeoutError
            If the ends of all partitions are not reached in time. What was read stays.
        KafkaException
            If the brokers refuse.
        """
        ends = {n: self._end(n, seconds) for n in self._partitions}
        places = self._consumer.position([TopicPartition(self._topic, n) for n in self._partitions])
        at = {place.partition: place.offset for place in places}
        waiting = {n for n, end in ends.items() if at[n] < end and end > 0}
        count, deadline = 0, time.monotonic() + seconds
        while waiting:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._topic}: {len(waiting)} partitions are not read up in {seconds:g} s"
                )
            for message in self._consumer.consume(_AT_ONCE, 0.1):
                if (error := message.error()) is not None:
                    # The end of what is stable: markers of transactions are behind the last record.
                    if error.code() == KafkaError._PARTITION_EOF:
                        waiting.discard(message.partition())
                    elif not error.retriable():
                        raise KafkaException(error)
                    continue
                count += 1
                self._take(message.key(), message.value())
                if (message.offset() or 0) + 1 >= ends[message.partition()]:
                    waiting.discard(message.partition())
        return count

    def _end(self, partition: int, seconds: float) -> int:
        place, deadline = TopicPartition(self._topic, partition), time.monotonic() + seconds
        while True:
            try:
                _, high = self._consumer.get_watermark_offsets(place, timeout=seconds)
            except KafkaException as failed:
                # Such as a partition that is led by another broker by now, or by none yet.
                if failed.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_SECONDS)
            else:
                return int(high)

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        name = (key or b"").decode()
        if value is None:
            self._rows.pop(name, None)
        else:
            self._rows[name] = self._row.model_validate_json(value)

    def __len__(self) -> int:
        return len(self._rows)

    def close(self) -> None:
        """Close the connection; what was read stays."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Memberships(Table[Change]):
    """Who is in which segment: each user's latest change.

    Parameters
    ----------
    bootstrap_servers
        Brokers, host:port separated by commas.
    topic
        The compacted topic.
    properties
        Of librdkafka.
    seconds
        How long the first reading may take.

    Raises
    ------
    TimeoutError, KafkaException
        As `refresh`.
    """

    _row = Change

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str = "segment-memberships",
        properties: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
    ) -> None:
        super().__init__(bootstrap_servers, topic, properties, seconds)

    def get(self, user_id: str) -> Change | None:
        """Give a user's latest change; None where there is none."""
        return self._rows.get(user_id)

    def segment_of(self, user_id: str) -> int | None:
        """Give the id of the segment that a user is in; None for none."""
        change = self._rows.get(user_id)
        return None if change is None or change.segment is None else change.segment.id

    def users(self, segment: int) -> Iterator[str]:
        """Give the ids of the users in a segment."""
        for user, change in self._rows.items():
            if change.segment is not None and change.segment.id == segment:
                yield user

    def __iter__(self) -> Iterator[Change]:
        """Give each user's latest change."""
        yield from self._rows.values()


class Segments(Table[SegmentName]):
    """The segments there are, and what they are called today; see `Memberships`."""

    _row = SegmentName

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str = "segments",
        properties: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
    ) -> None:
        super().__init__(bootstrap_servers, topic, properties, seconds)

    def get(self, segment: int) -> SegmentName | None:
        """Give a segment; None where it is retired or never was."""
        return self._rows.get(str(segment))

    def name(self, segment: int) -> str | None:
        """Give what a segment is called."""
        found = self.get(segment)
        return None if found is None else found.name

    def __iter__(self) -> Iterator[SegmentName]:
        """Give the segments."""
        yield from self._rows.values()


class UserRecommendations(Table[UserItems]):
    """Items for single users, where the group publishes them; see `Memberships`.

    A user who is not in it gets what `segment-recommendations` has for all users.
    """

    _row = UserItems

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str = "user-recommendations",
        properties: Mapping[str, Any] | None = None,
        seconds: float = 60.0,
    ) -> None:
        super().__init__(bootstrap_servers, topic, properties, seconds)

    def get(self, user_id: str) -> UserItems | None:
        """Give a user's items, and what they rest on; None of a user without a record."""
        return self._rows.get(user_id)

    def items(self, user_id: str) -> list[str]:
        """Give the ids of a user's items; none of a user without a record."""
        found = self._rows.get(user_id)
        return [] if found is None else [item.item_id for item in found.items]

    def __iter__(self) -> Iterator[UserItems]:
        """Give each user's items."""
        yield from self._rows.values()
