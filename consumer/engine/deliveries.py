"""What became of a transaction's records, by the client's reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaError, Message

from consumer.contract.records import Output

Report = Callable[[KafkaError | None, Message], None]

# What a record's delivery ends with where the transaction has failed by another one's.
_FOLLOWING = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._STATE}


class Deliveries:
    """Takes the reports of one transaction, of the last record of each place that it writes to.

    A report of each would cost as much as to write the record. The last one's will do. Records of a
    partition are delivered in their order, one request at a time, so it has the highest offset. And
    what goes wrong with a topic as a whole (missing, closed to us) goes wrong with its last record;
    what goes wrong with single records is an error of the transaction itself, which names the
    topic.

    Attributes
    ----------
    failure, topic
        The first failure, but for those that only follow from another record's, and where the
        record was to go; None and empty while there is none.
    """

    def __init__(self) -> None:
        self.failure: KafkaError | None = None
        self.topic = ""
        self._latest: list[Message] = []

    def reports(self, outputs: Sequence[Output]) -> Mapping[int, Report]:
        """Give the reports to ask for, by the number of the output."""
        last = {(output.topic, output.partition): n for n, output in enumerate(outputs)}
        return {
            number: self._failed if partition is None else self._reported
            for (_, partition), number in last.items()
        }

    @property
    def written(self) -> dict[tuple[str, int], int]:
        """By topic and partition, the offset after the last record that was written by its number.

        Empty of those whose report has not come.
        """
        return {
            (message.topic() or "", message.partition() or 0): offset + 1
            for message in self._latest
            if (offset := message.offset()) is not None
        }

    def failed(self, topic: str, error: KafkaError) -> None:
        """Note that a record could not be written."""
        following = self.failure is not None and self.failure.code() in _FOLLOWING
        if self.failure is None or (following and error.code() not in _FOLLOWING):
            self.topic, self.failure = topic, error

    @property
    def place(self) -> str:
        """Where the failure was, as the beginning of a sentence."""
        return f"while writing to {self.topic}: " if self.failure else ""

    # Called from within the client, so they must not raise.

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._latest.append(message)
        self._failed(error, message)

    def _failed(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed(message.topic() or "", error)
