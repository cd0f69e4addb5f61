"""Questions to the cluster, asked again while what stands in the way passes by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from consumer.kafka.broker_log import broker_log

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

REQUEST_SECONDS = 30.0
"""How long to ask where nobody says otherwise."""

# One question waits this long at first, so that what stands in the way is told soon, then longer:
# a broker that is far away or busy has its time. In between the wait can be cancelled.
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 8.0
_PAUSE_SECONDS = 0.2

# What passes by itself when a broker, a leader or a coordinator comes, goes or moves. A topic that
# was made a moment ago is not known to every broker: what is missing for good, check_topics tells.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)


class Client(Protocol):
    """A client of any kind, as far as it has to be polled for what it has to say."""

    def poll(self, timeout: float, /) -> Any:
        """Serve callbacks and the log."""
        ...


class AskCancelledError(Exception):
    """Nobody wants the answer any more."""


def passes(error: KafkaError) -> bool:
    """Tell whether an error may go away by itself."""
    return error.code() in _PASSING or (error.retriable() and not error.fatal())


def ask(
    question: Callable[[float], Answer],
    what: str,
    client: Client,
    *,
    seconds: float = REQUEST_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
) -> Answer:
    """Ask until there is an answer.

    Parameters
    ----------
    question
        Asks once, told how many seconds it may take.
    what
        What is asked for, for the log.
    client
        Who asks.
    seconds
        How long to ask again.
    cancelled
        Looked at between two questions.

    Raises
    ------
    KafkaException
        If the error does not pass, or has not in time.
    AskCancelledError
        If it was cancelled.
    """
    deadline = time.monotonic() + seconds
    patience = _FIRST_SECONDS
    while True:
        if cancelled():
            raise AskCancelledError(f"{what}: not wanted any more")
        left = deadline - time.monotonic()
        try:
            answer = question(max(min(patience, left), 0.1))
        except KafkaException as error:
            client.poll(0)  # its log says why
            if not passes(error.args[0]) or time.monotonic() >= deadline:
                raise
            logger.debug("%s again: %s", what, error.args[0].str())
            patience = min(2 * patience, _LONGEST_SECONDS)
            time.sleep(_PAUSE_SECONDS)
            continue
        client.poll(0)
        broker_log.answered()
        return answer


@cache
def announce(servers: str) -> None:
    """Say once which cluster is about to be asked: what follows may take a while."""
    logger.info("asking Kafka at %s", servers)


def unreachable(servers: str, error: KafkaException) -> str:
    """Say why a cluster cannot be asked: the cause where it is known, else the client's words."""
    reason = broker_log.reason() if passes(error.args[0]) else None
    words = (reason or str(error.args[0].str())).removeprefix(f"{servers}: ")
    return f"cannot reach Kafka at {servers}: {words}"
