"""Questions to the cluster: which partitions there are, where they end, what a group committed."""

from __future__ import annotations

import logging
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

from consumer.kafka.asking import announce, ask, passes, unreachable
from consumer.kafka.broker_log import librdkafka_logger
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.verify.report import VerifyError
from consumer.verify.watch import Place

T = TypeVar("T")


class GroupOffsets(NamedTuple):
    """What a group has committed, by partition of a topic."""

    offsets: dict[int, int | None]
    """None where it has none."""
    metadata: dict[int, OffsetMetadata]


logger = logging.getLogger(__name__)


class Lookups:
    """Asks the cluster; joins no group and changes nothing.

    Parameters
    ----------
    config
        librdkafka properties of the cluster: bootstrap.servers and security.
    group_id
        The group whose committed offsets are asked for.
    request_seconds
        How long to wait for the answer to one question.
    consumer_properties
        librdkafka properties of `consumer`, which the caller may read with.

    Raises
    ------
    VerifyError
        If the Kafka client refuses a property.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        group_id: str,
        *,
        request_seconds: float,
        consumer_properties: Mapping[str, Any] | None = None,
    ) -> None:
        self._servers = config.get("bootstrap.servers", "")
        self._request_seconds = request_seconds
        # Read committed also makes the coordinator hold back offsets of open transactions.
        self.consumer = open_consumer(config, group_id, consumer_properties or {})
        # Kept as long as there may be a question: an admin client that is collected while one is
        # under way never answers.
        clients: dict[str, Any] = {**config, "logger": librdkafka_logger}
        self._admin = AdminClient(clients)

    def close(self) -> None:
        """Close the consumer."""
        self.consumer.close()

    def partitions(self) -> dict[str, list[int]]:
        """Give the partitions of every topic that is to be seen.

        Raises
        ------
        VerifyError
            If no broker answers.
        """
        announce(self._servers)
        try:
            metadata = ask(
                lambda seconds: self._admin.list_topics(timeout=seconds),
                "the topics",
                self._admin,
                seconds=self._request_seconds,
            )
        except KafkaException as error:
            raise VerifyError(unreachable(self._servers, error)) from error
        return {
            name: sorted(topic.partitions)
            for name, topic in metadata.topics.items()
            if topic.error is None
        }

    def committed(self, topic: str, partitions: Iterable[int]) -> GroupOffsets:
        """Give the group's committed offsets, and what is committed beside them.

        Asked by a consumer that never joins: the admin client's question can crash the process
        while the coordinator is not up (librdkafka issue 4605).

        Raises
        ------
        KafkaException
            If there is no answer in time, or an open transaction holds an offset.
        """
        places = [TopicPartition(topic, partition) for partition in partitions]
        answers = self.consumer.committed(places, timeout=self._request_seconds)
        if failed := next((place.error for place in answers if place.error), None):
            raise KafkaException(failed)
        return GroupOffsets(
            {
                place.partition: None if place.offset == OFFSET_INVALID else place.offset
                for place in answers
            },
            {place.partition: OffsetMetadata.read(place.metadata) for place in answers},
        )

    def offsets(
        self, places: Iterable[Place], spec: OffsetSpec, *, stable: bool = False
    ) -> tuple[dict[Place, int], KafkaException | None]:
        """Give offsets of partitions, all in one question to each broker.

        Parameters
        ----------
        places
            The partitions.
        spec
            Which offset, such as the latest.
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
        futures = self._admin.list_offsets(
            wanted, isolation_level=isolation, request_timeout=self._request_seconds
        )
        for place, future in futures.items():
            try:
                answer = future.result(self._request_seconds + 5)
            except KafkaException as error:
                failed = error
            except FutureTimeoutError:
                failed = KafkaException(KafkaError(KafkaError._TIMED_OUT))
            else:
                found[place.topic, place.partition] = int(answer.offset)
        if failed is not None:
            self._refresh_leaders()
        return found, failed

    def _refresh_leaders(self) -> None:
        """Learn the partitions' leaders anew.

        The admin client keeps those that it knows, epochs included, and does not ask again when a
        broker refuses an old epoch: after a restart of the broker it would fail for 15 minutes.
        """
        with suppress(KafkaException):  # the next question fails likewise, and is told
            self._admin.list_topics(timeout=self._request_seconds)

    def all_offsets(
        self, places: Iterable[Place], spec: OffsetSpec, *, stable: bool = False
    ) -> dict[Place, int]:
        """Give what `offsets` gives where every partition answers.

        Raises
        ------
        KafkaException
            If one does not.
        """
        found, failed = self.offsets(places, spec, stable=stable)
        if failed is not None:
            raise failed
        return found


def ask_patiently(ask: Callable[[], T], what: str, seconds: float) -> T:
    """Ask until the cluster answers: leaders move, transactions take a while to end.

    Raises
    ------
    VerifyError
        If it refuses, or does not answer within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not passes(error.args[0]) or time.monotonic() > deadline:
                raise VerifyError(f"{what} cannot be read: {error_text(error)}") from error
            logger.info("asking for %s again: %s", what, error_text(error))
            time.sleep(0.1)


def open_consumer(
    config: Mapping[str, Any], group_id: str, properties: Mapping[str, Any]
) -> Consumer:
    """Make a consumer that commits nothing and sees committed records only.

    Raises
    ------
    VerifyError
        If the Kafka client refuses a property.
    """
    try:
        return Consumer(
            {
                **config,
                "logger": librdkafka_logger,
                "group.id": group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                **properties,
            }
        )
    except KafkaException as error:
        raise VerifyError(f"the Kafka client refuses its settings: {error_text(error)}") from error


def error_text(error: KafkaException) -> str:
    """Give Kafka's own words."""
    return str(error.args[0].str())
