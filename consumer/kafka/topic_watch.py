"""Notices that a topic was made anew under its readers.

The client does not tell: it goes on at the offset where it stood in the former topic. Only where
the new one is shorter than that does it find the offset out of range. So it is asked every few
seconds which topics the names stand for (KIP-516).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer.kafka.background import Background
from consumer.kafka.cluster import Cluster, TopicIdentity

Identities = Mapping[str, TopicIdentity]


class TopicWatch:
    """Asks for the identities of topics.

    Parameters
    ----------
    cluster
        Is asked.
    topics
        Their names.
    every_seconds
        Between two questions: until a topic that was made anew is noticed, it is read from the
        wrong place.
    """

    def __init__(self, cluster: Cluster, topics: Sequence[str], every_seconds: float = 5.0) -> None:
        self._cluster = cluster
        self._topics = topics
        # While a topic is gone, or the brokers are, there is nothing to compare.
        self._asking: Background[Identities] = Background(
            "topic-watch", "asking which topics are read", every_seconds
        )

    def tick(self) -> Identities:
        """Give an answer that has come since the last call, else nothing; ask again in time."""
        return self._asking.tick(self._ask) or {}

    def close(self) -> None:
        """End the thread."""
        self._asking.close()

    def _ask(self) -> Identities:
        return {name: self._cluster.identity(name) for name in self._topics}
