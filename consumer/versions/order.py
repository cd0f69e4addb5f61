"""Gives the trainer an order, and waits for its answer.

An order is one record on a compacted topic that the trainer reads as input. So it is followed once,
by whichever trainer is active, in a transaction with the offset behind it; and it waits where none
runs. Nothing that is written here is the model: the trainer stays its only writer.
"""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Producer

from consumer.contract.errors import ExpectedError
from consumer.kafka.asking import words
from consumer.kafka.clients import made, sender_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.groups import trainer_group
from consumer.kafka.topics import TopicError
from consumer.settings import Settings
from consumer.stages.training.control import read_state
from schemas.model_control import CONTROL_STATE_KEY, ModelOrder, OrderAction, OrderAnswer

_PEEK_SECONDS = 5.0
_PAUSE_SECONDS = 0.2


class UnansweredError(ExpectedError):
    """No trainer has answered in time; the order waits."""


class RefusedError(ExpectedError):
    """The trainer has refused the order."""


def give_order(
    settings: Settings,
    action: OrderAction,
    *,
    version: int | None = None,
    seen: int | None = None,
    seconds: float,
    tell: Callable[[str], None],
) -> OrderAnswer:
    """Give an order and wait for the answer.

    Parameters
    ----------
    settings
        Of the group.
    action, version
        What is asked for.
    seen
        The version in force that the operator saw.
    seconds
        How long to wait; 0 for not at all.
    tell
        Told, in a sentence, what holds it up.

    Raises
    ------
    UnansweredError
        If no trainer answers in time.
    RefusedError
        If it refuses.
    TopicError
        If the order cannot be written, or the answer not read.
    """
    topic, group = settings.topics.model_control, trainer_group(settings.kafka)
    cluster = Cluster(settings.kafka)
    order = ModelOrder(
        action=action, version=version, seen=seen, at=datetime.now(UTC), by=operator()
    )
    name = str(uuid.uuid4())
    try:
        runs = bool(cluster.group(group).members)
        start = cluster.end(topic, 0)
        _send(settings, name, order)
        if not runs:
            tell(
                f"no trainer is running: group {group} has no members. The order waits on {topic}, "
                "and the next trainer that starts follows it before it learns anything"
            )
        if (answer := _answer(cluster, topic, start, name, seconds)) is None:
            raise UnansweredError(
                f"no trainer has answered within {seconds:g} s: the order {name} stays on {topic}, "
                "and the active trainer, or the next one that starts, follows it; 'segmenter "
                "models list' shows whether it waits"
            )
    except KafkaException as error:
        raise TopicError(f"the order cannot be given: {words(error)}") from error
    if not answer.done:
        raise RefusedError(f"the trainer refuses: {answer.detail}")
    return answer


def operator() -> str:
    """Name who runs this, as far as the machine knows."""
    name = ""
    with suppress(KeyError, OSError):  # a user id without a name, as in most pods
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"[:200]


def _send(settings: Settings, name: str, order: ModelOrder) -> None:
    """Write an order; once, whatever has to be tried again."""
    failed: list[object] = []
    producer = made(Producer, sender_config(settings.kafka))
    producer.produce(
        settings.topics.model_control,
        order.model_dump_json(),
        name,
        partition=0,
        on_delivery=lambda error, _message: failed.append(error) if error else None,
    )
    left = producer.flush(settings.kafka.transaction_timeout_seconds)
    if failed:
        raise TopicError(f"the order cannot be written: {failed[0]}")
    if left:
        raise TopicError(
            f"the brokers do not take the order within "
            f"{settings.kafka.transaction_timeout_seconds:g} s: 'segmenter models list' shows "
            f"whether the order {name} is there all the same"
        )


def _answer(
    cluster: Cluster, topic: str, start: int, name: str, seconds: float
) -> OrderAnswer | None:
    """Wait for the answer to an order that was written behind an offset."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for record in cluster.peek(topic, {0: start}, None, min(left, _PEEK_SECONDS)):
            if record.key != CONTROL_STATE_KEY or record.value is None:
                continue
            state = read_state(record.value, record.place)
            for answer in state.answers:
                if answer.id == name:
                    return answer
        time.sleep(min(_PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))
    return None
