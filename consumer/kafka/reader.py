"""Reading partitions up to a fixed end, in no group: the way state comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Headers, Record
from consumer.kafka.asking import REQUEST_SECONDS, ask, passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import admin_config, reader_config
from consumer.settings import KafkaSettings, Settings


class ReadStalledError(ExpectedError):
    """No record came for too long, though the end was not reached."""


class OffsetGoneError(Exception):
    """The partition does not hold the offset from which it was to be read."""


Progress = Callable[[int, float], None]
"""Told the number of records read and the share done, 0 to 1."""


def as_record(message: Message) -> Record:
    """Give a message of the client as a record."""
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp=message.timestamp()[1],
        key=_as_bytes(message.key()),
        value=_as_bytes(message.value()),
        headers=_headers(message),
    )


def _headers(message: Message) -> Headers:
    headers = message.headers()
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, _as_bytes(value) or b"") for name, value in pairs)


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def end_offset(kafka: KafkaSettings, topic: str, partition: int) -> int:
    """Give the end of a partition, open transactions included.

    The last stable offset would hide what a crashed writer's transaction holds back, and with it
    committed records behind it.

    Raises
    ------
    KafkaException
        If there was no answer in time.
    """
    return watermarks(kafka, topic, partition)[1]


def start_offset(kafka: KafkaSettings, topic: str, partition: int) -> int:
    """Give the offset of the first record that a partition still holds; raises as `end_offset`."""
    return watermarks(kafka, topic, partition)[0]


def committed_offset(
    kafka: KafkaSettings,
    group_id: str,
    topic: str,
    partition: int,
    *,
    wait_seconds: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> int | None:
    """Give where a group goes on in a partition, None where it has never committed.

    An offset that hangs in a crashed member's open transaction is waited for (KIP-447's stable
    offsets, which a read_committed consumer asks for).

    Raises
    ------
    KafkaException
        If there was no stable answer in time.
    AskCancelledError
        If it was cancelled.
    """
    place = committed_offsets(
        kafka, group_id, topic, [partition], wait_seconds=wait_seconds, cancelled=cancelled
    )[0]
    return int(place.offset) if place.offset > OFFSET_INVALID else None


def committed_offsets(
    kafka: KafkaSettings,
    group_id: str,
    topic: str,
    partitions: Iterable[int],
    *,
    wait_seconds: float = REQUEST_SECONDS,
    stable: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[TopicPartition]:
    """Give what a group has committed for partitions, with the metadata; see `committed_offset`.

    Without `stable`, offsets of open transactions are not waited for; the committed ones before
    them are given.

    Asked by a client that never joins the group: the member's own `committed` waits for its polls
    to pause, and the admin client's question can crash the process while the coordinator is not up
    (librdkafka issue 4605).
    """
    isolation = "read_committed" if stable else "read_uncommitted"
    client = Consumer({**reader_config(kafka), "group.id": group_id, "isolation.level": isolation})
    try:
        what = f"the committed offsets of {topic}"
        question = committed_by(client, topic, partitions)
        return ask(question, what, client, seconds=wait_seconds, cancelled=cancelled)
    finally:
        client.close()


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


def watermarks(kafka: KafkaSettings, topic: str, partition: int) -> tuple[int, int]:
    """Give `start_offset` and `end_offset` at once; raises as `end_offset`.

    Not by the admin client: its first
    question of this kind now and then takes 3 s.
    """
    client = Consumer({**reader_config(kafka), "isolation.level": "read_uncommitted"})
    place = TopicPartition(topic, partition)
    try:
        low, high = ask(
            lambda seconds: client.get_watermark_offsets(place, timeout=seconds),
            f"the offsets of {topic}[{partition}]",
            client,
        )
        return int(low), int(high)
    finally:
        client.close()


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """What tells a topic from another of the same name: elsewhere, or made anew."""

    cluster_id: str | None
    topic_id: str | None
    """KIP-516; None where the brokers know none."""
    partitions: int


def topic_identity(
    kafka: KafkaSettings, topic: str, admin: AdminClient | None = None
) -> TopicIdentity:
    """Ask which topic that name stands for at present; by a client of its own without `admin`.

    Raises
    ------
    KafkaException
        If there was no answer in time.
    """
    admin = admin or AdminClient(admin_config(kafka))

    def identity(seconds: float) -> TopicIdentity:
        asked = admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)
        described = asked[topic].result()
        cluster = admin.list_topics(topic, timeout=seconds).cluster_id
        known = described.topic_id
        return TopicIdentity(
            cluster, None if known is None else str(known), len(described.partitions)
        )

    return ask(identity, f"the identity of {topic}", admin)


def read_partition(
    kafka: KafkaSettings,
    topic: str,
    partition: int,
    target: int,
    *,
    start: int = 0,
    no_progress_seconds: float,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Progress = lambda _count, _share: None,
) -> Generator[Record, None, None]:
    """Give the committed records of a partition below a target offset.

    Parameters
    ----------
    kafka, topic, partition
        What to read.
    target
        An offset; where it lies behind an open transaction, reading waits until that is settled.
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
    if start >= target:
        progress(0, 1.0)
        return
    # The fetch that finds the end waits this long; half a second a partition by default.
    config = {**reader_config(kafka), "fetch.wait.max.ms": 20}
    if start > 0:
        config["auto.offset.reset"] = "error"
    consumer = Consumer(config)
    try:
        # Not OFFSET_BEGINNING, which is looked up first and half a second later where the leader is
        # not known yet. Where the log begins later, auto.offset.reset finds its beginning.
        consumer.assign([TopicPartition(topic, partition, start)])
        low: int | None = start or None
        count, offset = 0, start
        reported = last = time.monotonic()
        while not cancelled():
            now = time.monotonic()
            if now - last > no_progress_seconds:
                raise ReadStalledError(
                    f"no record of {topic}[{partition}] for {no_progress_seconds:g} s, though "
                    f"offset {target} was not reached: is a broker down, or a transaction open?"
                )
            for message in consumer.consume(1000, 0.05):
                offset = message.offset() or 0
                error = message.error()
                if error is not None:
                    if passes(error):
                        broker_log.error(error.name(), error.str())
                        continue  # no_progress_seconds ends it
                    _raise_unless_end(error, f"{topic}[{partition}] does not hold offset {start}")
                    # The end of what is stable: of use only if it is our end too.
                    if offset >= target:
                        progress(count, 1.0)
                        return
                    continue
                if offset >= target:
                    progress(count, 1.0)
                    return
                low = offset if low is None else low
                count += 1
                yield as_record(message)
                # After the yield: what the reader of a record does with it is not the broker's.
                last = time.monotonic()
                if offset + 1 >= target:
                    progress(count, 1.0)
                    return
            if low is not None and now - reported > 0.5:
                reported = now
                progress(count, min(1.0, (offset - low) / max(target - low, 1)))
    finally:
        consumer.close()


def _raise_unless_end(error: KafkaError, gone: str) -> None:
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise OffsetGoneError(gone)
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)


def read_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """Give all committed records of a topic, partition after partition.

    Raises
    ------
    KafkaException
        If the topic is not there.
    ReadStalledError
        If nothing came for `restore.no_progress_seconds`.
    """
    admin = AdminClient(admin_config(settings.kafka))

    def partitions(seconds: float) -> list[int]:
        metadata = admin.list_topics(topic, timeout=seconds).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)

    for partition in ask(partitions, f"the partitions of {topic}", admin):
        end = end_offset(settings.kafka, topic, partition)
        if end > 0:
            yield from read_partition(
                settings.kafka,
                topic,
                partition,
                end,
                no_progress_seconds=settings.restore.no_progress_seconds,
            )
