"""Questions to a cluster, by clients that are in no group: what there is, and what it holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ConsumerGroupDescription,
    ResourceType,
)

from consumer.contract.clock import Timer
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record, RecordColumns
from consumer.kafka.asking import AT_ONCE, REQUEST_SECONDS, ask, passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import admin_config, made, reader_config
from consumer.kafka.messages import as_columns, as_records
from consumer.settings import KafkaSettings, Settings

logger = logging.getLogger(__name__)

# A topic that was made a moment ago is known to the controller, and to the other brokers only when
# they have heard of it.
SPREADING_SECONDS = 3.0
_TRUNCATION_SECONDS = 15.0
# Who wants a few records is not to be sent 50 MB of those behind them, which a client takes where a
# backlog holds them. A larger record comes all the same.
_LITTLE: dict[str, str | int] = {
    "fetch_message_max_bytes": 65_536,
    "queued_min_messages": 1,
    "queued_max_messages_kbytes": 64,
}
# Records that a reader is given at once, at most, and how long it waits for so many: a small
# partition never has them, and whoever reads many partitions waits that long for each.
_AT_ONCE, _AT_ONCE_SECONDS = 2000, 0.01


class ReadStalledError(ExpectedError):
    """No record came for too long, though the end was not reached."""


class OffsetGoneError(Exception):
    """The partition does not hold the offset from which it was to be read."""


Progress = Callable[[int, float], None]
"""Told the number of records read and the share done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """What tells a topic from another of the same name: elsewhere, or made anew."""

    cluster_id: str | None
    topic_id: str | None
    """KIP-516; None where the brokers know none."""
    partitions: int


Layout = tuple[tuple[int, int], ...]
"""Of each partition of a topic how many replicas there are, and how many of them are in sync."""


class Layouts(NamedTuple):
    """How topics lie on a cluster: its id, its brokers, and each topic's layout by name."""

    cluster_id: str | None
    brokers: int
    topics: dict[str, Layout]


class Standing(NamedTuple):
    """Where a group stands in a topic: what it has committed, and each partition's end."""

    committed: list[TopicPartition]
    ends: dict[int, int]


class Peeked(NamedTuple):
    """Records that were found, and by partition where to go on reading behind them."""

    records: list[Record]
    reached: dict[int, int]


class Cluster:
    """Asks, and asks again while what stands in the way passes; changes nothing.

    Every question raises KafkaException where there is no answer in time. Offsets are asked for by
    consumers that never join a group: a member's own `committed` waits for its polls to pause, the
    admin client's question for a group's offsets can crash the process while the coordinator is not
    up (librdkafka issue 4605), and its first one for those of a log now and then takes 3 s.

    Parameters
    ----------
    kafka
        How to reach it.
    timer
        What passes meanwhile.
    """

    def __init__(self, kafka: KafkaSettings, timer: Timer = time) -> None:
        self._kafka = kafka
        self._timer = timer

    @cached_property
    def admin(self) -> AdminClient:
        """The client that asks, made when it is needed first."""
        # Kept: one that is collected while a question is under way never answers.
        return made(AdminClient, admin_config(self._kafka))

    @contextmanager
    def _reader(self, **properties: str | int) -> Iterator[Consumer]:
        names = {name.replace("_", "."): value for name, value in properties.items()}
        client = made(Consumer, {**reader_config(self._kafka), **names})
        try:
            yield client
        finally:
            client.close()

    # --- topics -----------------------------------------------------------------------------

    def topics(
        self, expected: Iterable[str] = (), seconds: float = REQUEST_SECONDS
    ) -> dict[str, int]:
        """Give the number of partitions of every topic, within so many seconds.

        Asked again for a few more while some of the `expected` are missing.
        """

        def topics(seconds: float) -> dict[str, int]:
            found = self.admin.list_topics(timeout=seconds).topics
            return {name: len(topic.partitions) for name, topic in found.items()}

        return ask(
            lambda _: ask(topics, "the topics", self.admin, seconds=seconds),
            "topics that may be new",
            seconds=SPREADING_SECONDS,
            enough=set(expected).issubset,
            timer=self._timer,
        )

    def layouts(self, seconds: float = REQUEST_SECONDS) -> Layouts:
        """Give how the partitions of every topic lie on brokers."""

        def layouts(seconds: float) -> Layouts:
            found = self.admin.list_topics(timeout=seconds)
            return Layouts(
                found.cluster_id,
                len(found.brokers),
                {
                    name: tuple(
                        (len(each.replicas), len(each.isrs)) for each in topic.partitions.values()
                    )
                    for name, topic in found.topics.items()
                },
            )

        return ask(layouts, "the topics and their replicas", self.admin, seconds=seconds)

    def partitions(self, topic: str) -> int:
        """Give the number of partitions of a topic."""

        def count(seconds: float) -> int:
            found = self.admin.list_topics(topic, timeout=seconds).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return len(found.partitions)

        return ask(count, f"the partitions of {topic}", self.admin)

    def identity(self, topic: str) -> TopicIdentity:
        """Give which topic that name stands for at present."""

        def identity(seconds: float) -> TopicIdentity:
            asked = self.admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)
            described = asked[topic].result()
            cluster = self.admin.list_topics(topic, timeout=seconds).cluster_id
            known = described.topic_id
            return TopicIdentity(
                cluster, None if known is None else str(known), len(described.partitions)
            )

        return ask(identity, f"the identity of {topic}", self.admin)

    def identities(self, topics: Iterable[str]) -> dict[str, TopicIdentity]:
        """Give which topics these names stand for at present.

        A client does not tell that its topic was made anew: it goes on at the offset where it stood
        in the former one, and finds that out of range only where the new one is shorter. So whoever
        reads asks now and then.
        """
        return {topic: self.identity(topic) for topic in topics}

    def properties(self, kind: ResourceType, name: str) -> dict[str, str]:
        """Give what a topic or group is set to, as far as the brokers tell it to this client."""
        resource = ConfigResource(kind, name)

        def properties(seconds: float) -> dict[str, ConfigEntry]:
            asked = self.admin.describe_configs([resource], request_timeout=seconds)
            entries: dict[str, ConfigEntry] = asked[resource].result()
            return entries

        try:
            entries = ask(
                properties,
                f"the settings of {name}",
                self.admin,
                passing=lambda error: (
                    passes(error) and error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART
                ),
            )
        except KafkaException as error:
            logger.info(
                "cannot see what the %s %s is set to: %s",
                kind.name.lower(),
                name,
                error.args[0].str(),
            )
            return {}
        return {key: str(entry.value) for key, entry in entries.items() if entry.value is not None}

    # --- groups -----------------------------------------------------------------------------

    def group(self, group_id: str) -> ConsumerGroupDescription:
        """Give a group's type and members."""

        def describe(seconds: float) -> ConsumerGroupDescription:
            asked = self.admin.describe_consumer_groups([group_id], request_timeout=seconds)
            description: ConsumerGroupDescription = asked[group_id].result()
            return description

        return ask(describe, f"the members of group {group_id!r}", self.admin)

    def committed(
        self,
        group_id: str,
        topic: str,
        partitions: Iterable[int],
        *,
        wait_seconds: float = REQUEST_SECONDS,
        stable: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[TopicPartition]:
        """Give what a group has committed for partitions, with the metadata.

        An offset that hangs in a crashed member's open transaction is waited for (KIP-447's stable
        offsets, which a read_committed consumer asks for). Without `stable` it is not, and the one
        committed before it is given.

        Raises
        ------
        AskCancelledError
            If it was cancelled.
        """
        isolation = "read_committed" if stable else "read_uncommitted"
        with self._reader(group_id=group_id, isolation_level=isolation) as client:
            return ask(
                committed_by(client, topic, partitions),
                f"the committed offsets of {topic}",
                client,
                seconds=wait_seconds,
                cancelled=cancelled,
            )

    @contextmanager
    def standing(
        self, group_id: str, topic: str, partitions: Iterable[int]
    ) -> Iterator[Callable[[], Standing]]:
        """Give what asks where a group stands in a topic, again and again with one client.

        Offsets that hang in an open transaction are not waited for; ends are as of `watermarks`.
        """
        numbers = [*partitions]
        with self._reader(group_id=group_id, isolation_level="read_uncommitted") as client:

            def look() -> Standing:
                committed = ask(
                    committed_by(client, topic, numbers),
                    f"the committed offsets of {topic}",
                    client,
                )
                spans = {number: _span(client, topic, number) for number in numbers}
                return Standing(committed, {number: high for number, (_, high) in spans.items()})

            yield look

    # --- logs -------------------------------------------------------------------------------

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """Give the first offset that a partition still holds, and its end.

        Open transactions are within the end. The last stable offset would hide what a crashed
        writer's transaction holds back, and with it committed records behind it.
        """
        return self.spans(topic, [partition])[partition]

    def end(self, topic: str, partition: int) -> int:
        """Give the end of a partition, as `watermarks` does."""
        return self.watermarks(topic, partition)[1]

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Give the end of each of these partitions, as `watermarks` does."""
        return {number: high for number, (_, high) in self.spans(topic, partitions).items()}

    def spans(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Give what `watermarks` does, of each of these partitions."""
        with self._reader(isolation_level="read_uncommitted") as client:
            return {partition: _span(client, topic, partition) for partition in partitions}

    def offsets_at(self, topic: str, partitions: Iterable[int], timestamp: int) -> dict[int, int]:
        """Give the first offset of each of these partitions that is of a time or later.

        Parameters
        ----------
        topic, partitions
            What is looked at.
        timestamp
            Milliseconds since 1970, of the records themselves.

        Returns
        -------
        dict
            By partition; its end where all that is in it is of an earlier time.
        """
        # Below 0 are Kafka's own words for the beginning and the end.
        places = [TopicPartition(topic, number, max(timestamp, 0)) for number in partitions]
        with self._reader(isolation_level="read_uncommitted") as client:
            found: list[TopicPartition] = ask(
                lambda seconds: client.offsets_for_times(places, timeout=seconds),
                f"the offsets of {topic} at a time",
                client,
            )
        if failed := next((place.error for place in found if place.error), None):
            raise KafkaException(failed)
        later = {place.partition: int(place.offset) for place in found if place.offset >= 0}
        ends = self.ends(topic, [n for n in partitions if n not in later])
        return later | ends

    def peek(
        self, topic: str, starts: Mapping[int, int], each: int | None, seconds: float
    ) -> list[Record]:
        """Give the committed records that follow these offsets, as far as they come in time.

        Parameters
        ----------
        topic
            What to look into.
        starts
            By partition, the offset to begin with; where that is gone, the first one there is.
        each
            Of a partition, so many at most; None for all.
        seconds
            How long to wait at most. An open transaction hides what lies behind its beginning.
        """
        return self.peek_on(topic, starts, each, seconds).records

    def peek_on(
        self, topic: str, starts: Mapping[int, int], each: int | None, seconds: float
    ) -> Peeked:
        """Give what `peek` does, and where the next look has to begin to see all that comes."""
        waiting = dict.fromkeys(starts, 0)
        found: list[Message] = []
        reached = dict(starts)
        little = {} if each is None else _LITTLE
        with self._reader(fetch_wait_max_ms=20, auto_offset_reset="earliest", **little) as client:
            client.assign([TopicPartition(topic, n, offset) for n, offset in starts.items()])
            deadline = self._timer.monotonic() + seconds
            while waiting and self._timer.monotonic() < deadline:
                for message in client.consume(_AT_ONCE, _AT_ONCE_SECONDS):
                    number, offset = message.partition() or 0, message.offset() or 0
                    if (error := message.error()) is not None:
                        if error.code() == KafkaError._PARTITION_EOF:
                            if waiting.pop(number, None) is not None:
                                # The last stable offset: markers lie before it, not behind.
                                reached[number] = max(offset, reached[number])
                        elif not passes(error):
                            raise KafkaException(error)
                    elif number in waiting:
                        found.append(message)
                        waiting[number] += 1
                        reached[number] = offset + 1
                        if waiting[number] == each:
                            del waiting[number]
        return Peeked(list(as_records(found)), reached)

    def end_of_epoch(self, place: TopicPartition) -> int | None:
        """Give where the records of an offset's leader epoch end; None where that is not told.

        The client finds that out when it is given the epoch with the offset, and goes there.
        """
        with self._reader(isolation_level="read_uncommitted") as client:
            client.assign([place])
            for message in ask(
                lambda _: client.consume(1, 0.1),
                f"the end of an epoch of {place.topic}[{place.partition}]",
                seconds=_TRUNCATION_SECONDS,
                enough=lambda told: any(_tells_place(each.error()) for each in told),
                pace=AT_ONCE,
            ):
                if _tells_place(message.error()):
                    return int(message.offset() or 0)
        return None

    def read(
        self,
        topic: str,
        partition: int,
        target: int | None = None,
        *,
        start: int = 0,
        no_progress_seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
        progress: Progress = lambda _count, _share: None,
    ) -> Generator[Record, None, None]:
        """Give the committed records of a partition below a target offset, or to its end.

        Parameters
        ----------
        topic, partition
            What to read.
        target
            An offset; where it lies behind an open transaction, reading waits until that is
            settled. None: the partition's end, asked for when the first record is.
        start
            The offset to begin with; 0 is the partition's beginning, wherever that is.
        no_progress_seconds
            How long to wait for the next record.
        cancelled
            Asked every now and then; the iterator ends early when it is.
        progress
            Told how far it is between start and target, at most a few times a second.

        Raises
        ------
        OffsetGoneError
            If the partition does not hold a `start` above 0, nor end there.
        ReadStalledError
            If nothing came for `no_progress_seconds`.
        """
        for messages in self._read(
            topic,
            partition,
            target,
            start=start,
            no_progress_seconds=no_progress_seconds,
            cancelled=cancelled,
            progress=progress,
        ):
            yield from as_records(messages)

    def read_columns(
        self,
        topic: str,
        partition: int,
        target: int | None = None,
        *,
        start: int = 0,
        no_progress_seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
        progress: Progress = lambda _count, _share: None,
    ) -> Generator[RecordColumns, None, None]:
        """Give what `read` gives, as columns of many records at a time; raises likewise."""
        for messages in self._read(
            topic,
            partition,
            target,
            start=start,
            no_progress_seconds=no_progress_seconds,
            cancelled=cancelled,
            progress=progress,
        ):
            yield as_columns(topic, partition, messages)

    def _read(
        self,
        topic: str,
        partition: int,
        target: int | None,
        *,
        start: int,
        no_progress_seconds: float,
        cancelled: Callable[[], bool] = lambda: False,
        progress: Progress = lambda _count, _share: None,
        reader: Consumer | None = None,
    ) -> Generator[list[Message], None, None]:
        if target is None:
            target = self.end(topic, partition)
        if start >= target:
            progress(0, 1.0)
            return
        # The fetch that finds the end waits this long; half a second a partition by default.
        reset = "error" if start > 0 else "earliest"
        with (
            self._reader(fetch_wait_max_ms=20, auto_offset_reset=reset)
            if reader is None
            else nullcontext(reader)
        ) as consumer:
            # Not OFFSET_BEGINNING, which is looked up first and half a second later where the
            # leader is not known yet. Where the log begins later, auto.offset.reset finds its
            # beginning.
            consumer.assign([TopicPartition(topic, partition, start)])
            low: int | None = start or None
            count, reached = 0, start
            reported = last = self._timer.monotonic()
            while reached < target and not cancelled():
                now = self._timer.monotonic()
                if now - last > no_progress_seconds:
                    raise ReadStalledError(
                        f"no record of {topic}[{partition}] for {no_progress_seconds:g} s, though "
                        f"offset {target} was not reached: is a broker down, or a transaction open?"
                    )
                found = []
                for message in consumer.consume(_AT_ONCE, _AT_ONCE_SECONDS):
                    if (error := message.error()) is not None:
                        reached = max(reached, self._end_told(message, error, start))
                    elif (offset := message.offset() or 0) < target:
                        found.append(message)
                        reached = offset + 1
                    else:
                        reached = target
                if found:
                    low = (found[0].offset() or 0) if low is None else low
                    count += len(found)
                    yield found
                    # After the yield: what the reader does with them is not the broker's.
                    last = self._timer.monotonic()
                if low is not None and reached < target and now - reported > 0.5:
                    reported = now
                    progress(count, (reached - low) / max(target - low, 1))
            if reached >= target:
                progress(count, 1.0)

    def _end_told(self, message: Message, error: KafkaError, start: int) -> int:
        """Give the end of what is stable where a message tells it, else 0.

        Raises
        ------
        OffsetGoneError
            If it tells that the partition does not hold `start`.
        KafkaException
            If it tells an error that does not pass.
        """
        if passes(error):
            broker_log.error(error.name(), error.str())
            return 0  # no_progress_seconds ends it
        place = f"{message.topic()}[{message.partition()}]"
        _raise_unless_end(error, f"{place} does not hold offset {start}")
        return message.offset() or 0

    def read_at(
        self, topic: str, partition: int, offsets: Iterable[int], *, no_progress_seconds: float
    ) -> dict[int, Record]:
        """Give the committed records at these offsets, as far as they are there, by one reader.

        Raises
        ------
        ReadStalledError
            If nothing came for `no_progress_seconds`.
        """
        low, high = self.watermarks(topic, partition)
        found: dict[int, Record] = {}
        with self._reader(fetch_wait_max_ms=20, auto_offset_reset="error") as reader:
            for offset in sorted({each for each in offsets if low <= each < high}):
                try:
                    for messages in self._read(
                        topic,
                        partition,
                        offset + 1,
                        start=offset,
                        no_progress_seconds=no_progress_seconds,
                        reader=reader,
                    ):
                        found |= {record.offset: record for record in as_records(messages)}
                except OffsetGoneError:
                    continue  # removed a moment ago
        return found

    def read_all(self, topic: str, no_progress_seconds: float) -> Iterator[Record]:
        """Give all committed records of a topic, partition after partition; raises as `read`."""
        for partition in range(self.partitions(topic)):
            yield from self.read(topic, partition, no_progress_seconds=no_progress_seconds)


def _span(client: Consumer, topic: str, partition: int) -> tuple[int, int]:
    place = TopicPartition(topic, partition)
    low, high = ask(
        lambda seconds: client.get_watermark_offsets(place, timeout=seconds),
        f"the offsets of {topic}[{partition}]",
        client,
    )
    return int(low), int(high)


def committed_by(
    client: Consumer, topic: str, partitions: Iterable[int]
) -> Callable[[float], list[TopicPartition]]:
    """Give the question what the client's group has committed, to be asked with seconds."""
    places = [TopicPartition(topic, partition) for partition in partitions]

    def committed(seconds: float) -> list[TopicPartition]:
        answers: list[TopicPartition] = client.committed(places, timeout=seconds)
        if failed := next((place.error for place in answers if place.error), None):
            raise KafkaException(failed)
        return answers

    return committed


def _tells_place(error: KafkaError | None) -> bool:
    return error is None or error.code() == KafkaError._PARTITION_EOF


def _raise_unless_end(error: KafkaError, gone: str) -> None:
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise OffsetGoneError(gone)
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)


def read_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """Give all committed records of a topic, as `Cluster.read_all` does."""
    return Cluster(settings.kafka).read_all(topic, settings.restore.no_progress_seconds)
