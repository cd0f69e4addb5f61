"""What became of a transaction's records, by the client's reports."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, Message

Report = Callable[[KafkaError | None, Message], None]

# What a record's delivery ends with where the transaction has failed by another one's.
_FOLLOWING = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._STATE}


class Deliveries:
    """Takes the reports of one transaction.

    There is one for each record, so a report of success does next to nothing: it counts, and where
    the offset is asked for it keeps the message, the last one of its partition.

    Attributes
    ----------
    failure, topic
        The first failure, but for those that only follow from another record's, and where the
        record was to go; None and empty while there is none.
    missing
        How many records were produced and have not arrived.
    """

    def __init__(self) -> None:
        self.failure: KafkaError | None = None
        self.topic = ""
        self.missing = 0
        self._places: dict[tuple[str, int], _Place] = {}

    @property
    def written(self) -> dict[tuple[str, int], int]:
        """By topic and partition, the offset after the last record that was written by its number.

        Records of a partition are reported in their order: one request is under way at a time.
        """
        latest = {place: each.latest for place, each in self._places.items()}
        return {
            place: offset + 1
            for place, message in latest.items()
            if message is not None and (offset := message.offset()) is not None
        }

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Note that a record went out; called from within the client, so it must not raise."""
        if error is None:
            self.missing -= 1
        else:
            self.failed(message.topic() or "", error)

    def report_of(self, topic: str, partition: int) -> Report:
        """Give what also notes the offset, for records of a partition."""
        place = self._places.get((topic, partition))
        if place is None:
            place = self._places[topic, partition] = _Place(self)
        return place.report

    def failed(self, topic: str, error: KafkaError) -> None:
        """Note that a record could not be written."""
        following = self.failure is not None and self.failure.code() in _FOLLOWING
        if self.failure is None or (following and error.code() not in _FOLLOWING):
            self.topic, self.failure = topic, error

    @property
    def place(self) -> str:
        """Where the failure was, as the beginning of a sentence."""
        return f"while writing to {self.topic}: " if self.failure else ""


class _Place:
    """A partition that records are written to by its number, and the last one that arrived."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self.latest: Message | None = None

    def report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.latest = message
        self._deliveries.report(error, message)
