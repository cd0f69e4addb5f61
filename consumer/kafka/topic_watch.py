"""Notices that a topic was made anew under its readers.

The client does not tell: it goes on at the offset where it stood in the former topic. Only where
the new one is shorter than that does it find the offset out of range. So it is asked every few
seconds which topics the names stand for (KIP-516).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from confluent_kafka.admin import AdminClient

from consumer.kafka.clients import admin_config
from consumer.kafka.reader import TopicIdentity, topic_identity
from consumer.settings import KafkaSettings
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

Identities = Mapping[str, TopicIdentity]


class TopicWatch:
    """Asks for the identities of topics, in a thread of its own.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    topics
        Their names.
    every_seconds
        Between two questions.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str], every_seconds: float) -> None:
        self._kafka = kafka
        self._topics = topics
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds
        self._admin: AdminClient | None = None
        self._thread = DaemonPool(1, "topic-watch")
        self._question: Future[Identities] | None = None

    def tick(self) -> Identities:
        """Give an answer that has come since the last call, else nothing; ask again in time."""
        answer: Identities = {}
        if self._question is not None and self._question.done():
            if (error := self._question.exception()) is None:
                answer = self._question.result()
            else:
                # While a topic is gone, or the brokers are, there is nothing to compare.
                logger.info("asking which topics are read: %s", error)
            self._question = None
        if self._question is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._question = self._thread.submit(self._ask)
        return answer

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _ask(self) -> Identities:
        self._admin = self._admin or AdminClient(admin_config(self._kafka))
        return {name: topic_identity(self._kafka, name, self._admin) for name in self._topics}
