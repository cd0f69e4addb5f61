"""Questions to the cluster: which partitions there are, where they end, what a group committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer.kafka.asking import Client, ask
from consumer.kafka.clients import admin_config, made, reader_config
from consumer.kafka.cluster import committed_by
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import TopicError, partition_counts
from consumer.settings import Settings, TopicSettings
from consumer.verify.report import VerifyError
from consumer.verify.watch import Place, Sample

T = TypeVar("T")


class GroupOffsets(NamedTuple):
    """What a group has committed, by partition of a topic."""

    offsets: dict[int, int | None]
    """None where it has none."""
    metadata: dict[int, OffsetMetadata]


def outputs_of(topics: TopicSettings) -> tuple[str, ...]:
    """Name what the workers write and an audit compares."""
    return (topics.changes, topics.memberships, topics.profiles, topics.dead_letters)


_MAKE_THEM = (
    "run 'segmenter topics create', or check kafka.bootstrap_servers and the names of the topics"
)


def partitions_of(
    settings: Settings, names: Iterable[str], *, seconds: float, otherwise: str = _MAKE_THEM
) -> dict[str, list[int]]:
    """Give the partitions of every topic that is to be seen; `names` must be among them.

    Parameters
    ----------
    settings
        Of the cluster.
    names
        Topics that must be there.
    seconds
        How long to ask.
    otherwise
        What to do where one is not.

    Raises
    ------
    VerifyError
        If one is not, or no broker answers for `seconds`.
    """
    names = tuple(names)
    try:
        counts = partition_counts(settings, names, seconds=seconds)
    except TopicError as error:
        raise VerifyError(str(error)) from error
    for name in names:
        if not counts.get(name):
            raise VerifyError(f"there is no topic {name!r} (or no right to see it): {otherwise}")
    return {name: [*range(count)] for name, count in counts.items()}


class Lookups:
    """Asks the cluster; joins no group and changes nothing.

    Parameters
    ----------
    settings
        Of the cluster.
    group_id
        The group whose committed offsets are asked for.
    consumer_properties
        librdkafka properties of `consumer`, which the caller may read with.

    Raises
    ------
    ClientSettingsError
        If the Kafka client refuses a property.
    """

    def __init__(
        self,
        settings: Settings,
        group_id: str,
        consumer_properties: Mapping[str, Any] | None = None,
    ) -> None:
        self.group_id = group_id
        # Read committed also makes the coordinator hold back offsets of open transactions.
        self.consumer = open_consumer(settings, group_id, consumer_properties or {})
        # Kept as long as there may be a question: an admin client that is collected while one is
        # under way never answers.
        self.admin = made(AdminClient, admin_config(settings.kafka))

    def close(self) -> None:
        """Close the consumer."""
        self.consumer.close()

    def committed(self, topic: str, partitions: Iterable[int], seconds: float) -> GroupOffsets:
        """Give the group's committed offsets, and what is committed beside them.

        Raises
        ------
        KafkaException
            If there is no answer in time, or an open transaction holds an offset.
        """
        answers = committed_by(self.consumer, topic, partitions)(seconds)
        return GroupOffsets(
            {
                place.partition: None if place.offset == OFFSET_INVALID else place.offset
                for place in answers
            },
            {place.partition: OffsetMetadata.read(place.metadata) for place in answers},
        )

    def offsets(
        self, places: Iterable[Place], spec: OffsetSpec, seconds: float, *, stable: bool = False
    ) -> tuple[dict[Place, int], KafkaException | None]:
        """Give offsets of partitions, all in one question to each broker.

        Parameters
        ----------
        places
            The partitions.
        spec
            Which offset, such as the latest.
        seconds
            How long to wait for the answer.
        stable
            Whether the latest is the last stable offset; else open transactions are included.

        Returns
        -------
        tuple
            Offsets by partition, without those that did not answer; and one of the errors, or None.
        """
        isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        wanted = {TopicPartition(topic, partition): spec for topic, partition in places}
        found: dict[Place, int] = {}
        failed: KafkaException | None = None
        if not wanted:
            return found, failed
        futures = self.admin.list_offsets(
            wanted, isolation_level=isolation, request_timeout=seconds
        )
        for place, future in futures.items():
            try:
                answer = future.result(seconds + 5)
            except KafkaException as error:
                failed = error
            except FutureTimeoutError:
                failed = KafkaException(KafkaError(KafkaError._TIMED_OUT))
            else:
                found[place.topic, place.partition] = int(answer.offset)
        if failed is not None:
            self._refresh_leaders(seconds)
        return found, failed

    def _refresh_leaders(self, seconds: float) -> None:
        """Learn the partitions' leaders anew.

        The admin client keeps those that it knows, epochs included, and does not ask again when a
        broker refuses an old epoch: after a restart of the broker it would fail for 15 minutes.
        """
        with suppress(KafkaException):  # the next question fails likewise, and is told
            self.admin.list_topics(timeout=seconds)

    def sample(self, topic: str, topics: Mapping[str, Iterable[int]], seconds: float) -> Sample:
        """Give where the cluster stands, as far as it answers, each question within `seconds`.

        Parameters
        ----------
        topic
            The group's input.
        topics
            Partitions of all topics whose ends are asked for.
        seconds
            How long to wait for the answer to one question.
        """
        asked_at = time.monotonic()
        trouble: KafkaException | None = None
        group = GroupOffsets({}, {})
        try:
            group = self.committed(topic, topics[topic], seconds)
        except KafkaException as error:
            trouble = error
        all_places = places(topics)
        # Stable offsets first: what is written in between makes an end too large, never too small.
        stable, failed = self.offsets(all_places, OffsetSpec.latest(), seconds, stable=True)
        trouble = failed or trouble
        ends, failed = self.offsets(all_places, OffsetSpec.latest(), seconds)
        trouble = failed or trouble
        text = error_text(trouble) if trouble else None
        return Sample(asked_at, group.offsets, ends, stable, text, group.metadata)

    def all_offsets(
        self,
        topics: Mapping[str, Iterable[int]],
        spec: OffsetSpec,
        seconds: float,
        *,
        stable: bool = False,
    ) -> dict[Place, int]:
        """Give the offsets of all partitions of some topics, asked for again for `seconds`.

        Raises
        ------
        VerifyError
            If one cannot be had.
        """

        def question(seconds: float) -> dict[Place, int]:
            found, failed = self.offsets(places(topics), spec, seconds, stable=stable)
            if failed is not None:
                raise failed
            return found

        return answer_to(question, "the beginnings and ends of the topics", self.admin, seconds)


def places(partitions: Mapping[str, Iterable[int]]) -> list[Place]:
    """Give the partitions of some topics, one after the other."""
    return [(topic, number) for topic, numbers in partitions.items() for number in numbers]


def answer_to(question: Callable[[float], T], what: str, client: Client, seconds: float) -> T:
    """Ask until the cluster answers: leaders move, transactions take a while to end.

    Raises
    ------
    VerifyError
        If it refuses, or does not answer within `seconds`.
    """
    try:
        return ask(question, what, client, seconds=seconds)
    except KafkaException as error:
        raise VerifyError(f"{what} cannot be read: {error_text(error)}") from error


def open_consumer(settings: Settings, group_id: str, properties: Mapping[str, Any]) -> Consumer:
    """Make a consumer that commits nothing and sees committed records only.

    Raises
    ------
    ClientSettingsError
        If the Kafka client refuses a property.
    """
    config = {
        **reader_config(settings.kafka),
        "group.id": group_id,
        # librdkafka's own: much is read at once, and a larger record comes all the same.
        "fetch.message.max.bytes": 1_048_576,
        # Records that retention removes before they are read must not pass unnoticed.
        "auto.offset.reset": "error",
        **properties,
    }
    return made(Consumer, config)


def error_text(error: KafkaException) -> str:
    """Give Kafka's own words."""
    return str(error.args[0].str())
