"""Writing in transactions that only go through while the groups are the command's alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from confluent_kafka import TopicPartition

from consumer.contract.records import Output
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.clients import producer_config
from consumer.migrate.errors import MigrationError
from consumer.migrate.member import SoleMember
from consumer.settings import KafkaSettings

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0


class Writer:
    """A transactional producer whose name is the group's: a second one of a command ends the first.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    members
        The command's memberships: all of them are looked at before anything is written.
    command
        What is run: the end of the transactional id.
    make
        Makes the producer.
    attempts
        How often a transaction is written again. They are counted, and no time is set for them:
        each has its own budget.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        members: Sequence[SoleMember],
        *,
        command: str = "migrate",
        make: Callable[..., Transactions] = Transactions,
        attempts: int = 5,
    ) -> None:
        self.transactions = 0
        self._members = members
        self._attempts = attempts
        self._command = command
        self._producer = make(
            producer_config(kafka, f"{kafka.group_id}-{command}"),
            kafka.transaction_timeout_seconds,
            _START_SECONDS,
        )

    def check(self) -> None:
        """Raise MigrationError if another member has come into one of the groups."""
        for member in self._members:
            member.check()

    def write(
        self, outputs: Sequence[Output], offsets: Sequence[TopicPartition], member: SoleMember
    ) -> None:
        """Commit outputs together with a group's offsets, which carry the member's generation.

        What is written is the same each time, so a transaction of unknown outcome is written again
        too.

        Raises
        ------
        MigrationError
            If the group is not the command's alone, or the cluster aborts again and again.
        FatalKafkaError
            If no retry helps.
        """
        for attempt in range(self._attempts):
            self.check()
            outcome = self._producer.write(outputs, offsets, member.consumer)
            if outcome is Outcome.COMMITTED:
                self.transactions += 1
                return
            if outcome is Outcome.UNKNOWN:
                self._producer.reopen()
            time.sleep(0.1 * 2**attempt)
        self.check()
        raise MigrationError(
            f"{self._attempts} transactions in a row failed; the lines before say why; "
            f"run 'segmenter {self._command}' again when that is mended: what is done stays"
        )

    def close(self) -> None:
        """Close the producer; whatever was to be kept is committed."""
        self._producer.close()
