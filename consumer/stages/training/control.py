"""What operators order of the segment model: orders as they are read, and the state they leave."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_snapshot
from schemas.base import MAX_ID_CHARS
from schemas.errors import first_problem
from schemas.model_control import (
    CONTROL_STATE_KEY,
    KEPT_ANSWERS,
    MODEL_CONTROL_SCHEMA,
    ModelControlState,
    ModelOrder,
    OrderAction,
    OrderAnswer,
)

logger = logging.getLogger(__name__)

_MOST_BYTES = 4096
"""Of an order, with its id. What it says goes into the answers, and fifty of these into one record:
one that its topic does not take would end every trainer that reads the order. The model of an order
to migrate does not count: it goes into no answer."""


@dataclass(frozen=True, slots=True)
class GivenOrder:
    """An order as it was read.

    Attributes
    ----------
    record
        Where it came from.
    id
        Its id, the record's key.
    order
        What it asks for; None where it cannot be read.
    problem
        Why it cannot be read, else empty.
    """

    record: Record
    id: str
    order: ModelOrder | None
    problem: str = ""


def read_order(record: Record) -> GivenOrder | None:
    """Read an order; None where the record is none: a tombstone, or the trainer's own state.

    Anybody who may write to the topic may write anything, and no such record is to stop a trainer.
    So one that cannot be read is told, and refused like an order that cannot be followed.
    """
    if record.value is None or record.key is None or record.key == CONTROL_STATE_KEY:
        return None
    name = _name(record.key)
    length = len(record.key) + len(record.value)
    if length > _MOST_BYTES and _MIGRATES not in record.value:
        return GivenOrder(record, name, None, f"it has {length:,} bytes of at most {_MOST_BYTES:,}")
    try:
        order = ModelOrder.model_validate_json(record.value)
    except ValidationError as error:
        return GivenOrder(record, name, None, first_problem(error))
    if (length := len(record.key) + _without_model(order)) > _MOST_BYTES:
        return GivenOrder(record, name, None, f"it has {length:,} bytes of at most {_MOST_BYTES:,}")
    return GivenOrder(record, name, order)


# An order that names a model is read whatever its length, all others are not.
_MIGRATES = b'"model"'


def _without_model(order: ModelOrder) -> int:
    return len(order.model_copy(update={"model": None}).model_dump_json())


def _name(key: bytes) -> str:
    # No two keys have one name: an order whose name is that of another would count as answered.
    return key.decode(errors="backslashreplace")


def read_state(value: bytes, place: str) -> ModelControlState:
    """Read the trainer's state.

    Raises
    ------
    StageError
        If it is none; NewerModelError if a newer release has written it.
    """
    return read_snapshot(
        value,
        place,
        ModelControlState.model_validate_json,
        what="state of the control of the segment model",
        schema=MODEL_CONTROL_SCHEMA,
    )


class ModelControl:
    """Whether the model is frozen, and which orders were answered.

    Changes are made in place: after an abort the trainer's state is read back.

    Parameters
    ----------
    settings
        The topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.model_control
        self.state = ModelControlState()
        self._problem: StageError | None = None
        # Orders are read as input, from the group's offset on. Where that is lost they are read
        # again from the beginning: those that were answered are told by their tombstones.
        self._answered: set[str] = set()

    @property
    def frozen(self) -> bool:
        """Whether no new version is to be learned."""
        return self.state.frozen

    def load(self, record: Record) -> None:
        """Take a record in that is read back; `check` tells whether the state could be read."""
        if record.key == CONTROL_STATE_KEY:
            self.state, self._problem = ModelControlState(), None
            if record.value is not None:
                try:
                    self.state = read_state(record.value, record.place)
                except StageError as error:  # a later record may supersede it
                    self._problem = error
        elif record.value is None and record.key is not None:
            self._answered.add(_name(record.key))

    def check(self) -> None:
        """Refuse to go on where the latest state is none; raises as `read_state`."""
        if self._problem is not None:
            raise self._problem

    @property
    def latest_rollback(self) -> OrderAnswer | None:
        """The latest rollback that was followed, of those whose answers are kept."""
        followed = (
            answer
            for answer in reversed(self.state.answers)
            if answer.done and answer.action == OrderAction.ROLLBACK
        )
        return next(followed, None)

    def is_answered(self, given: GivenOrder) -> bool:
        """Tell whether an order was answered before."""
        return given.id in self._answered

    def migrated(self, former: str, at: datetime) -> None:
        """Have samples of a former embedding model passed over, and no version learned for now."""
        self.freeze(OrderAction.MIGRATE, at)
        self.state = self.state.model_copy(update={"former_embedding": former})

    def freeze(self, cause: str, at: datetime) -> None:
        """Have no new version learned; what froze it first stays the cause."""
        if not self.state.frozen:
            changes = {"frozen": True, "since": at, "cause": cause}
            self.state = self.state.model_copy(update=changes)

    def unfreeze(self) -> None:
        """Have versions learned again."""
        changes = {"frozen": False, "since": None, "cause": None}
        self.state = self.state.model_copy(update=changes)

    def answer(
        self, given: GivenOrder, *, done: bool, detail: str, model_version: int | None, at: datetime
    ) -> list[Output]:
        """Answer an order; give the records of the transaction that follows it."""
        order = given.order
        action = "unreadable" if order is None else str(order.action)
        answer = OrderAnswer(
            id=given.id[:MAX_ID_CHARS],
            action=action,
            version=order.version if order else None,
            by=order.by if order else "",
            ordered_at=order.at if order else at,
            at=at,
            done=done,
            detail=detail,
            model_version=model_version,
        )
        logger.log(
            logging.INFO if done else logging.WARNING,
            "order %r of the segment model, by %r: %s%s",
            action,
            answer.by,
            "" if done else "refused: ",
            detail,
        )
        answers = [*self.state.answers, answer][-KEPT_ANSWERS:]
        self.state = self.state.model_copy(update={"answers": answers})
        self._answered.add(given.id)
        value = self.state.model_dump_json().encode()
        return [
            Output(self._topic, CONTROL_STATE_KEY, value, partition=0),
            # So that the topic stays as small as what waits, and nobody follows it again.
            Output(self._topic, given.record.key, None, partition=0),
        ]
