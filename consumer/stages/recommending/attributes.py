"""Users by attribute and segment, of what workers tell of sampled users."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from models.recommendation.attribute_sample import MOST_USERS, AttributeSample
from schemas.attribute_table import ATTRIBUTES_KEY, AttributeTable
from schemas.binary import NewerRecordError, RecordError
from schemas.sampled_users import SampledUser, read_sampled_key, read_sampled_user, sampled_key

_LET_GO_AT_ONCE = 4_000


def is_of_user(record: Record) -> bool:
    """Tell a record of a sampled user from a part."""
    return (record.key or b"").startswith(b"user/")


class AttributeBook:
    """Sampled users by the records of them; on one partition are all.

    Parameters
    ----------
    most
        Users kept.

    Attributes
    ----------
    dirty
        Whether a record has come since the table was made last.
    end
        Offset behind the latest record.
    """

    def __init__(self, most: int = MOST_USERS) -> None:
        self.dirty = False
        self.end = 0
        self._sample = AttributeSample(most)

    def __len__(self) -> int:
        return len(self._sample)

    def note(self, record: Record) -> None:
        """Take a record in; one that was read before changes nothing.

        Raises
        ------
        StageError
            If it cannot be read.
        """
        if record.offset < self.end:
            return
        named = read_sampled_key(record.key)
        if named is None:
            raise StageError(f"{record.place} is of no sampled user: its key names none")
        rank, what = named
        if record.value is None:
            self._sample.drop(rank, what)
        else:
            user = _read(record)
            self._sample.put(rank, segment=user.segment, attributes=user.attributes)
            # Users are drawn by the worker that knows the newest model.
            self._sample.upto = user.upto
        self.end, self.dirty = record.offset + 1, True

    def table(self) -> AttributeTable:
        """Count users."""
        return self._sample.table(self.end)

    def leaving(self) -> list[tuple[float, str]]:
        """Give what is known of users who are sampled no more, so much as goes at once."""
        return self._sample.leaving()[:_LET_GO_AT_ONCE]

    def drop(self, left: Sequence[tuple[float, str]]) -> None:
        """Forget what has left."""
        for rank, what in left:
            self._sample.drop(rank, what)

    def made(self, end: int) -> None:
        """Note that the table is made of what is ahead of an offset."""
        self.dirty = self.end > end


class CountedUsers:
    """The book of the process that has it, and what is written of it.

    Parameters
    ----------
    settings
        Topics, and how often a table is published at most.
    clock
        Gives seconds that do not go back.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._topics = settings.topics
        self._interval = settings.recommendations.min_interval_seconds
        self._clock = clock
        self._books: dict[int, AttributeBook] = {}
        self._made_at: float | None = None
        # What the transaction holds: who leaves, and whether a table is in it.
        self._left: list[tuple[int, list[tuple[float, str]]]] = []
        self._made: list[tuple[int, int]] = []

    def assigned(self, partition: int, book: AttributeBook) -> None:
        """Take over a partition."""
        self._books[partition] = book

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._books.pop(partition, None)

    def note(self, partition: int, record: Record) -> None:
        """Take a record in."""
        self._books[partition].note(record)

    def maintain(self, *, idle: bool) -> list[Output]:
        """Give tombstones of users who are sampled no more, or a table where one is due."""
        outputs: list[Output] = []
        for partition, book in self._books.items():
            if left := book.leaving():
                self._left.append((partition, left))
                topic = self._topics.recommendation_parts
                outputs += [
                    Output(topic, sampled_key(rank, what), None, (), partition)
                    for rank, what in left
                ]
            elif book.dirty and self._due(idle=idle):
                self._made.append((partition, book.end))
                value = book.table().model_dump_json().encode()
                topic = self._topics.segment_recommendations
                outputs.append(Output(topic, ATTRIBUTES_KEY, value))
        return outputs

    def committed(self) -> None:
        """Make what was given the state."""
        for partition, left in self._left:
            self._books[partition].drop(left)
        for partition, end in self._made:
            self._books[partition].made(end)
            self._made_at = self._clock()
        self.aborted()

    def aborted(self) -> None:
        """Forget what was given."""
        self._left, self._made = [], []

    @property
    def settled(self) -> bool:
        """Whether the table that is published is of all that has come."""
        return not any(book.dirty for book in self._books.values())

    def _due(self, *, idle: bool) -> bool:
        """Tell whether to publish: amid a stream seldom, since a table may be of a megabyte."""
        since = None if self._made_at is None else self._clock() - self._made_at
        return since is None or since >= (self._interval if idle else 60 * self._interval)


def _read(record: Record) -> SampledUser:
    try:
        return read_sampled_user(record.key or b"", record.value or b"")
    except NewerRecordError as error:
        raise StageError(
            f"{record.place} was written by a newer version ({error}): upgrade this process"
        ) from None
    except RecordError as error:
        raise StageError(f"{record.place} is of no sampled user: {error}") from None
