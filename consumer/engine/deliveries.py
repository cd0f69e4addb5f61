"""What became of a transaction's records, by the client's reports."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message

# What a record's delivery ends with where the transaction has failed by another one's.
_FOLLOWING = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._STATE}


class Deliveries:
    """Takes the reports of one transaction.

    Attributes
    ----------
    failure, topic
        The first failure, but for those that only follow from another record's, and where the
        record was to go; None and empty while there is none.
    missing
        How many records were produced and have not arrived.
    written
        By topic and partition, the offset after the last record.
    """

    def __init__(self) -> None:
        self.failure: KafkaError | None = None
        self.topic = ""
        self.missing = 0
        self.written: dict[tuple[str, int], int] = {}

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Note where a record went; called from within the client, so it must not raise."""
        topic, offset = message.topic() or "", message.offset()
        if error is not None:
            self.failed(topic, error)
            return
        self.missing -= 1
        if offset is not None:
            place = topic, message.partition() or 0
            self.written[place] = max(self.written.get(place, 0), offset + 1)

    def failed(self, topic: str, error: KafkaError) -> None:
        """Note that a record could not be written."""
        following = self.failure is not None and self.failure.code() in _FOLLOWING
        if self.failure is None or (following and error.code() not in _FOLLOWING):
            self.topic, self.failure = topic, error

    @property
    def place(self) -> str:
        """Where the failure was, as the beginning of a sentence."""
        return f"while writing to {self.topic}: " if self.failure else ""
