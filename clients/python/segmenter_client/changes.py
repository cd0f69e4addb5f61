"""An iterator over `segment-changes` that goes on where it stopped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from segmenter_client.records import Change

_POLL_SECONDS = 0.5


class Changes:
    """The changes of users' segments: committed ones alone, each user's in their order.

    A change counts as handled when the next one is asked for, and when a `with` block ends without
    an error. A process that dies is given the change again that it was at: at least once. A user's
    `sequence` tells what was seen before.

    Parameters
    ----------
    bootstrap_servers
        Brokers, host:port separated by commas.
    group_id
        A name of your own: processes that share it share the partitions.
    topic
        The topic of changes.
    causes
        Give these alone, such as {"user"} for what users did themselves; None gives all. The
        `previous_segment` of a change then is that of the last change of any cause.
    from_beginning
        Whether a group that is new begins with the oldest change, or with what comes from now on.
    properties
        Of librdkafka, such as security.protocol.

    Examples
    --------
    >>> with Changes("localhost:9092", "campaigns", causes={"user"}) as changes:  # doctest: +SKIP
    ...     for change in changes:
    ...         print(change.user_id, change.status, change.segment)
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group_id: str,
        *,
        topic: str = "segment-changes",
        causes: Collection[str] | None = None,
        from_beginning: bool = True,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        self._causes = None if causes is None else {cause.encode() for cause in causes}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group_id,
                "auto.offset.reset": "earliest" if from_beginning else "latest",
                "partition.assignment.strategy": "cooperative-sticky",
                **(properties or {}),
                # What the promises above rest on.
                "isolation.level": "read_committed",
                "enable.auto.commit": True,
                "enable.auto.offset.store": False,
            }
        )
        self._consumer.subscribe([topic])
        self._given: Message | None = None

    def poll(self, seconds: float = _POLL_SECONDS) -> Change | None:
        """Give the next change; None if none comes in time.

        Raises
        ------
        KafkaException
            If the brokers refuse, or there is no such topic; what passes by itself is waited for.
        pydantic.ValidationError
            If a record is no change. It stays the group's next one.
        """
        self._handled()
        message = self._consumer.poll(seconds)
        if message is None:
            return None
        if (error := message.error()) is not None:
            if error.fatal() or not _passes(error):
                raise KafkaException(error)
            return None
        if not self._wanted(message):
            self._consumer.store_offsets(message)
            return None
        change = Change.model_validate_json(message.value() or b"")
        self._given = message
        return change

    def __iter__(self) -> Iterator[Change]:
        """Give changes for ever."""
        while True:
            change = self.poll()
            if change is not None:
                yield change

    def close(self) -> None:
        """Commit what was handled, and leave the group. The change given last is not."""
        self._given = None
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._handled()
        self.close()

    def _handled(self) -> None:
        if self._given is not None:
            try:
                self._consumer.store_offsets(self._given)
            except KafkaException as failed:
                # The partition is another process's by now, which is given the change again.
                if failed.args[0].code() != KafkaError._STATE:
                    raise
            self._given = None

    def _wanted(self, message: Message) -> bool:
        if self._causes is None:
            return True
        return dict(message.headers() or ()).get("ce_cause") in self._causes


def _passes(error: KafkaError) -> bool:
    """Tell what the client gets over by itself."""
    return error.retriable() or error.code() in {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._PARTITION_EOF,
        KafkaError._MAX_POLL_EXCEEDED,
    }
