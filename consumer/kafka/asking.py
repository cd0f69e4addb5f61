"""Asking again: while what stands in the way passes by itself, or until the answer will do."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from consumer.contract.clock import Timer
from consumer.kafka.broker_log import broker_log

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

REQUEST_SECONDS = 30.0
"""How long to ask where nobody says otherwise."""

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


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast something is asked again; seconds, each doubled from one time to the next.

    One question waits a little at first, so that what stands in the way is told soon, then longer:
    a broker that is far away or busy has its time. In between asking can be cancelled.
    """

    patience: float = 1.0
    longest_patience: float = 8.0
    pause: float = 0.2
    longest_pause: float = 0.2


AT_ONCE = Pace(pause=0, longest_pause=0)
"""For what waits by itself, such as a poll."""


class AskCancelledError(Exception):
    """Nobody wants the answer any more."""


def passes(error: KafkaError) -> bool:
    """Tell whether an error may go away by itself."""
    return error.code() in _PASSING or (error.retriable() and not error.fatal())


def ask(
    question: Callable[[float], Answer],
    what: str,
    client: Client | None = None,
    *,
    seconds: float = REQUEST_SECONDS,
    ends: Callable[[], float] = lambda: math.inf,
    passing: Callable[[KafkaError], bool] = passes,
    enough: Callable[[Answer], bool] = lambda _: True,
    cancelled: Callable[[], bool] = lambda: False,
    pace: Pace = Pace(),
    timer: Timer = time,
) -> Answer:
    """Ask until there is an answer that will do.

    Parameters
    ----------
    question
        Asks once, told how many seconds it may take.
    what
        What is asked for, for the log.
    client
        Who asks the cluster, to be polled for what it has to say.
    seconds
        How long to ask again.
    ends
        A time of the timer that may come nearer meanwhile; nothing is waited for beyond it.
    passing
        Which errors are asked again after.
    enough
        Whether an answer will do. The last one is given whether it does or not.
    cancelled
        Looked at between two questions.
    pace
        How fast.
    timer
        What time it is.

    Raises
    ------
    KafkaException
        If the error does not pass, or has not in time.
    AskCancelledError
        If it was cancelled.
    """
    deadline = timer.monotonic() + seconds
    patience, pause = pace.patience, pace.pause

    def left() -> float:
        return min(deadline, ends()) - timer.monotonic()

    while True:
        if cancelled():
            raise AskCancelledError(f"{what}: not wanted any more")
        try:
            answer = question(max(min(patience, left()), 0.1))
        except KafkaException as error:
            if not passing(error.args[0]) or left() <= pause:
                raise
            # Why it does not go on is told by `consumer.kafka.broker_log`.
            logger.debug("%s again: %s", what, error.args[0].str())
        else:
            if client is not None:
                broker_log.answered()
            if enough(answer) or left() <= pause:
                return answer
        finally:
            if client is not None:
                client.poll(0)  # its log says why
        timer.sleep(pause)
        patience = min(2 * patience, pace.longest_patience)
        pause = min(2 * pause, pace.longest_pause)


@cache
def announce(servers: str) -> None:
    """Say once which cluster is about to be asked: what follows may take a while."""
    logger.info("asking Kafka at %s", servers)


def unreachable(servers: str, error: KafkaException) -> str:
    """Say why a cluster cannot be asked: the cause where it is known, else the client's words."""
    return f"cannot reach Kafka at {servers}: {words(error).removeprefix(f'{servers}: ')}"


def words(error: KafkaException) -> str:
    """Say why something was not answered: the cause where it is known, else the client's words."""
    reason = broker_log.reason() if passes(error.args[0]) else None
    return reason or str(error.args[0].str())
