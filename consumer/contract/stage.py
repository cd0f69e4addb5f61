"""What the loop asks of a stage, and what a stage may count on. No Kafka client in it.

A stage is plain Python behind this protocol. The loop is the only code that knows transactions; it
drives a stage over Kafka, `consumer.offline.replay` drives the same stage over a file. The order of
calls, all but the first two from one thread:

    restoration(partition) -> load_many(records)     in a thread of its own, nothing shared
    prepare(records)                                 in threads of its own, must not touch state
    assigned(partition, restoration)
    apply(prepared) -> outputs -> committed() or aborted()
    apply(prepared) -> outputs, share(seconds) -> outputs -> committed() or aborted()
    maintain(idle)  -> outputs -> committed() or aborted(); committed() at once where it gives none
    revoked(partition)

`tests/consumer/contract` has a stage that computes next to nothing, for tests of what drives one.

A stage may also let its state be kept in local checkpoints: `Checkpointed`, `Resumable`; it may do
its own work in the transactions of batches: `Sharing`; and it may put off taking a partition over:
`Waiting`. One whose state may come to be of another embedding model while it runs is `Switching`,
and its restorations are `Completed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Output, Record, RecordColumns

Prepared = TypeVar("Prepared")


class StageError(ExpectedError):
    """A stage cannot go on; the process ends with this sentence and a non-zero exit code."""


class Upto(Enum):
    """How far a changelog is read on restore."""

    END = auto()
    """To its end: the state as of the last committed transaction."""

    COMMITTED = auto()
    """To the group's committed offset of the partition itself: what follows is still to come."""


@dataclass(frozen=True, slots=True)
class Changelog:
    """A partition to read on restore."""

    topic: str
    partition: int
    upto: Upto
    needs_offset: bool = False
    """Whether a committed record in it means that the group has committed an offset too. Where that
    is gone, the input would count again."""


class Restoration(Protocol):
    """The state of one partition while it is read back."""

    @property
    def changelogs(self) -> Sequence[Changelog]:
        """What to read, in this order."""
        ...

    def load(self, record: Record) -> None:
        """Take one record in; a null value is a tombstone."""
        ...

    def load_many(self, records: RecordColumns) -> None:
        """Take records in, in their order; comes to the same as one after the other."""
        ...


Columns = Mapping[str, NDArray[Any]]
"""A state as little-endian arrays in C order, by name."""

StateKind = Mapping[str, str | int]
"""What a saved state must have in common with the stage that goes on with it."""


class OtherVersionError(ValueError):
    """A saved state is sound, and in a form of another version of the program."""


@runtime_checkable
class Resumable(Protocol):
    """A restoration that may begin with a checkpoint in place of its changelog's beginning.

    It has one changelog, read to its end, in which each record holds all there is to know under its
    key: so a record may be loaded again without harm.
    """

    @property
    def kind(self) -> StateKind:
        """What a checkpoint has to fit."""
        ...

    def resume(self, columns: Columns) -> int:
        """Take a checkpoint over, before any record is loaded, and give its number of users.

        Raises
        ------
        ValueError
            If the columns are no state of this kind; OtherVersionError where another version has
            written them.
        """
        ...


class Snapshot(Protocol):
    """A partition's state at one moment; what `columns` gives may be written by another thread.

    It may be blurred by what is committed meanwhile, as long as loading the changelog's records
    from that moment on again sets it right.
    """

    def __len__(self) -> int:
        """Give the number of users."""
        ...

    def columns(self) -> Columns:
        """Give the state; slow work belongs here."""
        ...


@runtime_checkable
class Checkpointed(Protocol):
    """A stage whose partitions can be kept in checkpoints; its restorations are `Resumable`."""

    def snapshot(self, partition: int) -> Snapshot:
        """Take a partition's committed state, between transactions and at once."""
        ...


Restoring = TypeVar("Restoring", bound=Restoration)


@runtime_checkable
class Waiting(Protocol):
    """A stage that has to know more than a partition's state before it takes the partition over."""

    def may_take_over(self, restoration: Any) -> bool:
        """Tell whether it knows by now what has decided on the state that was read back."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """A stage that does pieces of its own work in the transactions of batches, too."""

    def share(self, seconds: float) -> Sequence[Output]:
        """Do a piece for about so long, beside the batch that was applied just now.

        What the batch has made is no state yet: whatever rests on that is left alone.
        """
        ...


@runtime_checkable
class Completed(Protocol):
    """A restoration that reads more than its changelogs hold."""

    def complete(self, offset: int, cancelled: Callable[[], bool]) -> None:
        """Read what is missing, behind the changelogs and in the same thread.

        `offset` is where the input goes on: of what lies below all is to be in the state.
        """
        ...


class StateMark(NamedTuple):
    """Of which embedding model a partition's state is, and which ones its process can go on with.

    Identities, both.
    """

    embedding: str | None
    held: tuple[str, ...]


@runtime_checkable
class Switching(Protocol):
    """A stage that goes on with a partition's state under another embedding model."""

    def to_read_back(self, *, at_rest: bool) -> int | None:
        """Name a partition whose state is to be read back now, to be another one from then on.

        Asked between transactions and before each poll, told whether nothing is being read back;
        None where there is none.
        """
        ...

    def mark(self, partition: int) -> StateMark:
        """Say what a partition's state is, right after `assigned`; it goes with the offsets."""
        ...


class Stage(Protocol[Prepared, Restoring]):
    """A step of the pipeline, between the records of its input and those of its outputs."""

    @property
    def inputs(self) -> Sequence[str]:
        """The topic to subscribe to, then those whose partitions of the same number go with it."""
        ...

    @property
    def fixed_partitions(self) -> bool:
        """Whether state rests on how many partitions the first input has, so that it must stay."""
        ...

    @property
    def restore_after_abort(self) -> bool:
        """Whether an abort spoils the state, so that it has to be read back."""
        ...

    def restoration(self, partition: int) -> Restoring:
        """Begin to read back the state of a partition."""
        ...

    def assigned(self, partition: int, restoration: Restoring) -> None:
        """Take over a partition whose state is read back."""
        ...

    def revoked(self, partition: int) -> None:
        """Let go of a partition and its state."""
        ...

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Do the slow and pure part: validate, clean, embed. Two batches may be in here at once."""
        ...

    def apply(self, prepared: Prepared, partitions: frozenset[int]) -> Sequence[Output]:
        """Compute the next state and what to write, for records of these partitions only.

        The state itself stays as it is until `committed`.
        """
        ...

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        """Do a piece of the work that no record asks for, such as a new model; None without any.

        Called between batches; as soon as possible again until it gives None. A piece should take
        some 20 ms at most, with its transaction, unless it is `idle`, when no record is waiting: a
        batch that becomes ready meanwhile waits for it. One that has nothing to write needs no
        transaction.
        """
        ...

    def committed(self) -> None:
        """Make what `apply` or `maintain` computed the state."""
        ...

    def aborted(self) -> None:
        """Drop what `apply` or `maintain` computed."""
        ...
