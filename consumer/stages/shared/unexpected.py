"""Records on which the program itself fails: each is a dead letter of its own, the others go on.

What a record can make a library raise is not known beforehand. Without this, one such record would
stop its partition for good: every start would read it again and fail again.

* Validating and cleaning go record by record, so the culprit is known.
* Of texts that are embedded together the failing ones are found by halving.
* Events are applied in their order, each on top of those before it. So the first one that fails is
  found as the end of the shortest beginning of the batch that fails.
* Users who are looked at under a new model have no record to refuse: the failing ones are found by
  halving too, and stay where they are.

A failure that is no record's (`of_a_record`) stops the process, as ever, and so does one that comes
too often: `dead_letters.max_unexpected`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np

from consumer.contract.errors import forget_frames, place, stack
from consumer.contract.stage import StageError
from models.embedding.errors import EmbeddingError, UnusableTextError
from models.embedding.runner_types import Vectors
from schemas.dead_letters import Refusal, RefusalReason

if TYPE_CHECKING:  # what it takes to read settings, which a process that cleans does without
    from consumer.stages.shared.dead_letters import DeadLetterLimit

logger = logging.getLogger(__name__)


def of_a_record(error: Exception) -> bool:
    """Whether an exception may be one record's doing, and not the process's or the machine's."""
    if isinstance(error, UnusableTextError):
        return True
    return not isinstance(error, StageError | EmbeddingError | MemoryError | ImportError)


class Faults:
    """Turns exceptions into refusals, and logs where each kind came from, once.

    Neither the refusal nor the log has the exception's message: it may quote what a user wrote.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def refusal(self, error: Exception) -> Refusal:
        """Give the refusal of the record that an exception is due to.

        Raises
        ------
        Exception
            The exception itself, where it is no record's.
        """
        return Refusal(
            reason=RefusalReason.UNEXPECTED,
            detail=f"the program failed on this record with {self.tell(error, 'a record')}; it is "
            "a defect of segmenter or of a library, please report it",
        )

    def tell(self, error: Exception, of: str) -> str:
        """Log on what the program fails, once for each place; give the exception's type and place.

        The exception has no traceback any more: its frames hold the batch, and some hold it too.

        Raises
        ------
        Exception
            The exception itself, where it is no record's.
        """
        if not of_a_record(error):
            raise error
        what = f"{type(error).__name__} {place(error)}"
        if what not in self._told:
            self._told.add(what)
            logger.warning("the program fails on %s with %s:\n%s", of, what, stack(error))
        forget_frames(error)
        return what


class _Several(Protocol):
    """Texts, in whatever form, that can be embedded by parts."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


S = TypeVar("S", bound=_Several)


def embed_apart(
    embed: Callable[[S], Vectors], texts: S, *, dimensions: int, most: int
) -> tuple[Vectors, dict[int, Exception]]:
    """Embed texts; where that fails, find the texts to blame by halving.

    Parameters
    ----------
    embed, texts
        What embeds what.
    dimensions
        Length of a vector.
    most
        How many texts may be to blame.

    Returns
    -------
    vectors
        float32 (texts, dimensions), with NaN for the texts to blame.
    failed
        What each of those raised, by its row.

    Raises
    ------
    Exception
        What was raised, where it is no record's, or where more texts than `most` fail.
    """
    found: list[Vectors] = []
    failed: dict[int, Exception] = {}
    # No function that calls itself: one that is defined here would keep the texts until Python
    # looks for garbage.
    waiting = [(0, len(texts))]
    while waiting:
        first, end = waiting.pop()
        try:
            found.append(embed(texts[first:end]))
        except Exception as error:
            if not of_a_record(error) or (end - first == 1 and len(failed) >= most):
                raise
            if end - first == 1:
                failed[first] = error
                found.append(np.full((1, dimensions), np.nan, np.float32))
            else:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
    return (found[0] if len(found) == 1 else np.concatenate(found)), failed


class Batch(Protocol):
    """Records that are applied together."""

    def __len__(self) -> int:
        """Count the records."""
        ...

    def beginning(self, count: int) -> Self:
        """Give so many records of it."""
        ...

    def refusing(self, number: int, refusal: Refusal) -> Self:
        """Give it with one of its records refused, counted from 0."""
        ...


B = TypeVar("B", bound=Batch)
T = TypeVar("T")


def apply_apart(
    batch: B,
    apply: Callable[[B], T],
    undo: Callable[[], None],
    *,
    faults: Faults,
    limit: DeadLetterLimit,
    most: int,
) -> T:
    """Apply a batch; a record on which that fails is refused, as if it had not been there.

    Parameters
    ----------
    batch
        The records.
    apply, undo
        Called by turns until a batch is applied; `undo` takes back what was applied in part.
    faults, limit
        Make the refusals, and the error where there are too many of them.
    most
        Records of a batch that may be to blame.

    Raises
    ------
    Exception
        What `apply` raised, where it is no record's.
    DeadLetterLimitError
        If more records than `most` are to blame.
    """

    def attempt(count: int) -> None:
        try:
            apply(batch.beginning(count))
        finally:
            undo()

    for _ in range(most + 1):
        try:
            return apply(batch)
        except Exception as error:
            undo()
            if not of_a_record(error):
                raise
            number, shortest = shortest_failing(attempt, len(batch), error)
            batch = batch.refusing(number - 1, faults.refusal(shortest))
    # Too many, whatever comes of the others; what those raise may quote a text.
    raise limit.too_many_unexpected(most + 1, len(batch))


def shortest_failing(
    attempt: Callable[[int], object], count: int, error: Exception
) -> tuple[int, Exception]:
    """Find the shortest beginning of a batch on which an attempt fails.

    Parameters
    ----------
    attempt
        Called with a number of records to begin with; raises where it fails on them. Where a
        beginning fails, every longer one does.
    count, error
        A number of records on which it has failed, above 0, and with what.

    Returns
    -------
    number, error
        The last of that many records is to blame, for this error.

    Raises
    ------
    Exception
        What the attempt raised, where it is no record's.
    """
    passes, fails = 0, count
    while fails - passes > 1:
        middle = (passes + fails) // 2
        try:
            attempt(middle)
        except Exception as shorter:
            if not of_a_record(shorter):
                raise
            fails, error = middle, shorter
        else:
            passes = middle
    return fails, error
